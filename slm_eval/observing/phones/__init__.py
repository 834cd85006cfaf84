"""Phone recognisers: observers whose observation is ``{"phones": [...]}``."""
