"""One user action a file, each a thin call into a function that can be imported and tested."""
