"""What a report on runs is made of: what a run folder holds, what is drawn of it, and the page that shows it."""
