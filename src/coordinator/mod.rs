//! Room coordinator.
