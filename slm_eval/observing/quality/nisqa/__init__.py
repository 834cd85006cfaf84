"""NISQA and NISQA-TTS."""
