//! The cryptography under TLS, for every HTTP client of this program.

/// Makes ring the provider of the process, unless it has one. reqwest is built without any, since that is how one TLS
/// library serves it and the OCI client both, and panics when a client is made before this.
pub fn install_provider() {
    // An error means that there is a provider, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
