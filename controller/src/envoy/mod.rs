//! Envoy's file-based xDS: the sink of the files platform.
