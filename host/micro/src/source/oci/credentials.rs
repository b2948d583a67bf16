//! Who we are to a registry: what `docker login` left in its configuration.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

/// Under this name docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// That registry's hosts. Only they: an ending alone could be anybody's.
const DOCKER_HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The credentials for a registry from `config.json` in `$DOCKER_CONFIG` or `~/.docker`, or from the helper that is named
/// there. Nobody is logged in where there are none.
pub(super) async fn find(registry: &str) -> Result<RegistryAuth, String> {
    let server = if DOCKER_HUB_HOSTS.contains(&registry) { DOCKER_HUB } else { registry }.to_owned();
    // A helper is a program that may take its time.
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&server)).await;
    match found.map_err(|error| error.to_string())? {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(format!(
            "docker keeps an identity token for {registry}, which micro cannot use: log in with a user name and an access \
             token, 'docker login -u USER {registry}'"
        )),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => Ok(RegistryAuth::Anonymous),
        // The helpers' way to say that nobody is logged in.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => {
            Ok(RegistryAuth::Anonymous)
        }
        Err(error) => Err(format!("read docker's credentials for {registry}: {error}")),
    }
}
