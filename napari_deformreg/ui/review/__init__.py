"""The tabs of the Review dock, and what they share: tables, places, the case on the desk."""
