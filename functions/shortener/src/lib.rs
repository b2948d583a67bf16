//! Short links: a service with a store, and a route that browsers can follow.

/// Makes short links and follows them.
#[micro::service]
mod shortener {
    use micro::store::{Failure, Put, Store};
    use micro::{Error, HttpResponse};

    /// The longest address that browsers agree on.
    const MAX_URL: usize = 2048;

    /// Characters of a code: 62 of them, so there are 62⁷ codes.
    const CODE_LENGTH: u32 = 7;

    /// A short link.
    pub struct Link {
        /// What stands behind `/s/`, such as `3kTMd9b`.
        pub code: String,
    }

    /// Gives an address a short link; the same address gets the same one.
    pub fn create(url: String) -> Result<Link, Error> {
        check(&url)?;
        let store = Store::own();
        // Another address may have the code already: then the next one is tried.
        for attempt in 0..u64::MAX {
            let code = code(&url, attempt);
            let key = format!("link/{code}");
            match store.put_with(&key, &url, Put::new().if_absent()) {
                Ok(_) => return Ok(Link { code }),
                Err(Failure::Conflict(_)) if store.get(&key)?.as_deref() == Some(url.as_bytes()) => {
                    return Ok(Link { code });
                }
                Err(Failure::Conflict(_)) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Error::unavailable("every code is taken"))
    }

    /// Sends whoever follows a short link to its address.
    #[micro::route(GET, "/s/{code}")]
    pub fn follow(code: String) -> Result<HttpResponse, Error> {
        let url = Store::own().get(&format!("link/{code}"))?;
        let url = url.and_then(|url| String::from_utf8(url).ok());
        let url = url.ok_or_else(|| Error::not_found(format!("there is no short link {code}")))?;
        Ok(HttpResponse::redirect(url))
    }

    /// An address goes into a header, and a browser goes where it leads: nothing but the web, in one line.
    fn check(url: &str) -> Result<(), Error> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Error::bad_request("url: expected an address that begins with http:// or https://"));
        }
        if url.len() > MAX_URL {
            return Err(Error::bad_request(format!("url: longer than {MAX_URL} bytes")));
        }
        if url.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return Err(Error::bad_request("url: spaces have to be written as %20"));
        }
        Ok(())
    }

    /// The code of an address: its FNV-1a hash, in letters and digits.
    fn code(url: &str, attempt: u64) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = url.bytes().chain(attempt.to_le_bytes());
        let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        let digit = |place| char::from(DIGITS[(hash / 62_u64.pow(place) % 62) as usize]);
        (0..CODE_LENGTH).map(digit).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_link_leads_where_it_was_made_for() {
            let _store = micro::testing::store();
            let made = create("https://example.com/a?b=c".to_owned()).expect("it is an address");
            assert_eq!(made.code.len(), CODE_LENGTH as usize);
            let again = create("https://example.com/a?b=c".to_owned()).expect("it is an address");
            assert_eq!(made.code, again.code);

            let response = follow(made.code).expect("the link was made");
            assert_eq!((response.status, response.header("location")), (302, Some("https://example.com/a?b=c")));
            assert_eq!(follow("nothing".to_owned()).unwrap_err().code, 404);
        }

        #[test]
        fn an_address_whose_code_is_taken_gets_another() {
            let _store = micro::testing::store();
            let url = "https://example.com";
            Store::own().put(&format!("link/{}", code(url, 0)), "https://other.example").expect("there is a store");
            let made = create(url.to_owned()).expect("it is an address");
            assert_eq!(made.code, code(url, 1));
            assert_eq!(follow(made.code).expect("the link was made").header("location"), Some(url));
        }

        #[test]
        fn what_is_no_address_of_the_web_is_refused() {
            let _store = micro::testing::store();
            let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
            for url in ["", "javascript:alert(1)", "https://a b", "https://a\r\nset-cookie: b", &long] {
                let error = create(url.to_owned()).map(|link| link.code).unwrap_err();
                assert!(error.code == 400 && error.detail.starts_with("url: "), "{url:?}: {error}");
            }
        }
    }
}
