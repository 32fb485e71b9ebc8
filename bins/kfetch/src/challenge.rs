//! What a registry wants to know before it answers (RFC 9110, section 11; distribution: "Token
//! Authentication Specification").

use http_auth::parser::ChallengeParser;
use khost::docker_config::is_this_machine;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use url::{Position, Url};

/// How to say who one is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// With the password itself.
    Basic,
    /// With a token, which is given at an address.
    Bearer(Url),
}

impl Challenge {
    /// The safest one of `headers` that is understood; `repository` is what is to be read.
    pub(crate) fn of(headers: &HeaderMap, repository: &str) -> Option<Self> {
        let mut basic = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            // What cannot be read ends it: what stands before still counts.
            let challenges = ChallengeParser::new(header.to_str().ok()?).map_while(Result::ok);
            for challenge in challenges {
                let value = |wanted: &str| {
                    let named =
                        challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(wanted));
                    named.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                } else if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(mut url) = value("realm").and_then(|url| Url::parse(&url).ok())
                {
                    let scope = value("scope").unwrap_or(format!("repository:{repository}:pull"));
                    for (key, value) in [("service", value("service")), ("scope", Some(scope))] {
                        if let Some(value) = value {
                            url.query_pairs_mut().append_pair(key, &value);
                        }
                    }
                    return Some(Self::Bearer(url));
                }
            }
        }
        basic
    }
}

/// Whether others could read what is sent to `url`.
pub(crate) fn is_open(url: &Url) -> bool {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    url.scheme() != "https" && !is_this_machine(authority)
}

/// The token in what the server that gives them says.
pub(crate) fn token(reply: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reply {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Reply { token, access_token } = serde_json::from_slice(reply).ok()?;
    token.or(access_token).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
    use url::Url;

    use super::Challenge;

    fn challenge(headers: &[&str]) -> Option<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_str(header).unwrap());
        }
        Challenge::of(&map, "a/b").map(|found| match found {
            Challenge::Basic => "basic".into(),
            Challenge::Bearer(url) => url.to_string(),
        })
    }

    #[test]
    fn challenges() {
        let scope = "scope=repository%3Aa%2Fb%3Apull";
        for (headers, found) in [
            (&[][..], None),
            (&["Basic realm=\"r\""], Some("basic".into())),
            (&["bearer Realm=\"https://t/x?y=1\""], Some(format!("https://t/x?y=1&{scope}"))),
            (
                &["Bearer realm=\"https://t/\",service=\"s p\",scope=\"repository:q:pull\""],
                Some("https://t/?service=s+p&scope=repository%3Aq%3Apull".into()),
            ),
            (
                &["Basic realm=\"a, Bearer\", Bearer realm=\"https://t/\""],
                Some(format!("https://t/?{scope}")),
            ),
            (&["Negotiate", "Bearer realm=\"https://t/\""], Some(format!("https://t/?{scope}"))),
            (&["Bearer realm=\"/token\""], None),
            (&["Bearer service=\"s\""], None),
            (&["Digest realm=\"r\", nonce=\"n\""], None),
            (&["\"", "=,="], None),
        ] {
            assert_eq!(challenge(headers), found, "{headers:?}");
        }
    }

    #[test]
    fn where_a_password_would_be_sent_in_the_clear() {
        let open = |url: &str| super::is_open(&Url::parse(url).unwrap());
        assert!(open("http://auth/token") && open("HTTP://auth/token") && open("ftp://auth/"));
        assert!(!open("https://auth/token") && !open("http://127.0.0.1:80/token"));
    }

    #[test]
    fn tokens() {
        let token = |reply: &str| super::token(reply.as_bytes());
        assert_eq!(token(r#"{"token":"a","access_token":"b"}"#).as_deref(), Some("a"));
        assert_eq!(token(r#"{"access_token":"b","expires_in":60}"#).as_deref(), Some("b"));
        for none in ["", "{}", r#"{"token":""}"#, r#"{"token":7}"#, "<html>"] {
            assert_eq!(token(none), None, "{none}");
        }
    }

    #[test]
    fn fuzz_challenge() {
        let seed = "Basic realm=\"a, b\", Bearer realm=\"https://t/x?y=1\",service=\"s \\\" p\",scope=q\nNegotiate";
        fuzz::target([seed, r#"{"token":"a","access_token":"b"}"#], |bytes| {
            super::token(bytes);
            let values = bytes
                .split(|byte| *byte == b'\n')
                .filter_map(|value| HeaderValue::from_bytes(value).ok());
            let headers = values.map(|value| (WWW_AUTHENTICATE, value)).collect();
            if let Some(Challenge::Bearer(url)) = Challenge::of(&headers, "a/b") {
                super::is_open(&url);
            }
        });
    }
}
