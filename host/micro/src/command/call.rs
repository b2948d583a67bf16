//! `micro call`

use std::io::Read;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::layout::json;
use super::{Options, Output, print};
use crate::admin::HostError;

/// Call an endpoint of a service and print its reply
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro call greeter Say.Hello '{\"name\": \"John\"}'
  micro call photos Album.Add @album.json
  generate | micro call photos Album.Add -

An error is printed as `error calling SERVICE.ENDPOINT: {\"id\", \"code\", \"detail\", \"status\"}` on standard output, \
with exit status 1. With --output json the reply is printed as it came.")]
pub struct Arguments {
    /// The service's name
    service: Option<String>,

    /// The endpoint: Say.Hello
    endpoint: Option<String>,

    /// The request as JSON, {} by default; @FILE reads it from a file and - from standard input
    #[arg(value_name = "JSON")]
    request: Vec<String>,

    /// Passed on with the call; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
}

/// Calls.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    let Arguments { service, endpoint, request, metadata } = arguments;
    let (Some(service), Some(endpoint)) = (service, endpoint) else {
        let text = "require service and endpoint e.g. micro call greeter Say.Hello '{\"name\": \"John\"}'";
        return Err(Failure::usage(text).on_stdout().into());
    };
    let request = RawValue::from_string(request_text(&request)?)
        .map_err(|error| Failure::usage(format!("the request is not JSON: {error}")))?;
    let metadata = metadata.iter().map(|pair| metadata_pair(pair)).collect::<Result<Vec<_>, _>>()?;
    match options.host()?.call(&service, &endpoint, &request, &metadata).await {
        Ok(reply) if options.output == Output::Json => print::line(reply.trim_end())?,
        Ok(reply) => print::line(json::indent(&reply))?,
        Err(HostError::Refused(error)) => {
            let text = format!("error calling {service}.{endpoint}: {error}");
            return Err(Failure::plain(text).on_stdout().into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The words of the command line as one text, or what they point to.
pub(super) fn request_text(words: &[String]) -> Result<String> {
    let text = match words {
        [] => "{}".to_owned(),
        [one] if one == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read the request from standard input")?;
            text
        }
        [one] if one.starts_with('@') => {
            let file = one.get(1..).unwrap_or_default();
            std::fs::read_to_string(file).with_context(|| format!("read the request from {file}"))?
        }
        words => words.join(" "),
    };
    Ok(text.trim().to_owned())
}

/// `key=value`, as an HTTP header can carry it.
pub(super) fn metadata_pair(pair: &str) -> Result<(String, String), Failure> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Failure::usage(format!("--metadata {pair:?}: expected KEY=VALUE")));
    };
    if key.parse::<http::HeaderName>().is_err() {
        let text = format!("--metadata {pair:?}: the key may hold letters, digits, '-' and '_'");
        return Err(Failure::usage(text));
    }
    if value.parse::<http::HeaderValue>().is_err() {
        let text = format!("--metadata {pair:?}: the value may not hold control characters");
        return Err(Failure::usage(text));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_request_are_joined() {
        let words = ["{\"name\":".to_owned(), "\"John\"}".to_owned()];
        assert_eq!(request_text(&words).unwrap(), "{\"name\": \"John\"}");
        assert_eq!(request_text(&[]).unwrap(), "{}");
        let missing = request_text(&["@/no/such/file".into()]).unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"));
    }

    #[test]
    fn metadata_must_fit_into_headers() {
        assert_eq!(metadata_pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        for wrong in ["a", "a b=c", "=x", "a=\n"] {
            assert!(metadata_pair(wrong).is_err(), "{wrong}");
        }
    }
}
