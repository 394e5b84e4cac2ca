//! Fetching what peers publish.
