//! The admin token, as the command line keeps it.

use reqwest::Method;
use serde::Deserialize;
use std::path::Path;

use super::{ANSWER_LIMIT, Answer, Host, HostError};
use crate::whole_file::{self, Readers};

/// `POST /v1/token/rotate`.
#[derive(Debug, Clone, Deserialize)]
pub struct NewToken {
    /// The token that counts from now on.
    pub token: String,
}

impl Host {
    /// The file that the token is in.
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// Has the host make a new token, and keeps it where the old one was.
    pub async fn rotate_token(&self) -> Result<Answer<NewToken>, HostError> {
        let request = self.admin(Method::POST, "/v1/token/rotate").await?;
        let answer: Answer<NewToken> = self.answer(request.timeout(ANSWER_LIMIT)).await?;
        let token = &answer.value.token;
        // The host on this machine has written it there itself. One elsewhere knows nothing of this file.
        if std::fs::read_to_string(&self.token_file).is_ok_and(|kept| kept.trim() == token) {
            return Ok(answer);
        }
        let kept = whole_file::write(&self.token_file, token.as_bytes(), Readers::Owner);
        kept.map_err(|error| HostError::TokenNotKept { place: self.token_file.clone(), reason: error.to_string() })?;
        Ok(answer)
    }
}
