//! Facts about histograms, most of them from upstream's own tests (`model/histogram/float_histogram_test.go`).
