"""The operators the network lives on. One file per op; each documents shapes, dtypes, frames and errors."""
