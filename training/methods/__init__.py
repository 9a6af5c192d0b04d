"""One module for each method that can be trained. A paper's module has the name of its `backend/methods` file."""
