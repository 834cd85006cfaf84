"""What people read: tables as text, and a page."""
