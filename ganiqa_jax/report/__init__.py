"""Pages that people read: scores, plots and pictures in one HTML file."""
