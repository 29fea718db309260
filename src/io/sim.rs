//! A disk in memory that tests crash.
