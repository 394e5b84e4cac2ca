//! What peers may fetch, over HTTPS.
