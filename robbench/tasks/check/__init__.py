"""What an attack's number is worth: of a run, of a model, and in short after every attack."""
