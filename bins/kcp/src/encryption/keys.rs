//! `EncryptionConfiguration` (apiserver.config.k8s.io/v1): which keys there are, and in what order.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use khost::{Error, Result};
use kspec::cluster::{CipherProvider, Encryption};
use serde_json::{Value, json};

/// Bytes of a key: what all three providers take (for AES the strongest).
const LENGTH: usize = 32;

/// What the file says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The first is written with, all are read with.
    pub(crate) list: Vec<Key>,
    /// Nothing is encrypted any more; the keys are for what was.
    pub(crate) plain: bool,
    pub(crate) resources: Vec<String>,
}

/// One key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) provider: CipherProvider,
    /// As it stands, in the clear, before what it encrypted.
    pub(crate) name: String,
    /// In base64.
    secret: String,
}

/// What is to become of the file.
#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    /// It is right, or not wanted and not there.
    Same,
    /// Other words around the same keys.
    Keep(Keys),
    /// The same, with a new key before the others.
    Add(Keys),
}

impl Keys {
    /// No keys yet.
    fn none(wanted: &Encryption) -> Self {
        Self { list: Vec::new(), plain: false, resources: wanted.resources.clone() }
    }

    /// What the file should be, from what it is and what `cluster.toml` says. Keys that something
    /// in etcd may be encrypted with stay, also when nothing is to be encrypted any more: a
    /// snapshot from before is of no use without them.
    pub(crate) fn next(present: Option<&Self>, wanted: &Encryption) -> Next {
        let Some(present) = present else {
            return if wanted.enabled { Next::Add(Self::none(wanted)) } else { Next::Same };
        };
        let mut next = present.clone();
        next.plain = !wanted.enabled;
        next.resources.clone_from(&wanted.resources);
        let fits = next.list.first().is_some_and(|key| key.provider == wanted.provider);
        if wanted.enabled && !fits {
            return Next::Add(next);
        }
        if next == *present { Next::Same } else { Next::Keep(next) }
    }

    /// With a new key before the others, by the system's own source of random bytes.
    pub(crate) fn with_new_key(mut self, provider: CipherProvider) -> Result<Self> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::host("no-randomness", "the system gives no random bytes for a key")
                .because(error)
        })?;
        // `key1`, `key2`, ...; kubespray's is called `key`. What it encrypted names it, so a name
        // must not come again while an older key of that name may still be needed.
        let number = |key: &Key| key.name.strip_prefix("key").and_then(|n| n.parse::<u32>().ok());
        let next = self.list.iter().filter_map(number).max().unwrap_or(0) + 1;
        let key = Key { provider, name: format!("key{next}"), secret: STANDARD.encode(bytes) };
        self.list.insert(0, key);
        Ok(self)
    }

    /// Only the key that is written with.
    pub(crate) fn without_old_keys(mut self) -> Self {
        self.list.truncate(1);
        self
    }

    /// What things are written with, and which; no secret.
    pub(crate) fn writer(&self) -> String {
        let first = self.list.first().filter(|_| !self.plain);
        let with = first.map_or("identity", |key| key.name.as_str());
        format!("{with} {}", self.resources.join(","))
    }

    /// As the API server reads it. Each key is a provider of its own, so that the order is that of
    /// the keys whatever their kinds.
    pub(crate) fn render(&self) -> Result<String> {
        let plain = json!({ "identity": {} });
        let mut providers: Vec<_> = self.list.iter().map(provider).collect();
        providers.insert(if self.plain { 0 } else { providers.len() }, plain);
        let config = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{ "resources": self.resources, "providers": providers }],
        });
        kspec::to_yaml(&config).map_err(|error| {
            Error::host("render-failed", "cannot write the keys as YAML").because(error)
        })
    }

    /// What is in the file `text`, which may be kubespray's; `path` is for the error.
    ///
    /// # Errors
    /// `encryption-config-unreadable`: it holds what is not known here, and is not guessed at.
    pub(crate) fn parse(text: &str, path: &str) -> Result<Self> {
        let unreadable = |why: &str| {
            Error::host("encryption-config-unreadable", format!("cannot go by `{path}`"))
                .because(why.to_owned())
                .hint("it holds the keys of what is encrypted in etcd: restore it from a backup")
        };
        let documents =
            kspec::from_yaml_documents(text).map_err(|_| unreadable("it is not YAML"))?; // the cause might show a key
        let [config] = documents.as_slice() else {
            return Err(unreadable("one EncryptionConfiguration is wanted"));
        };
        let rules = config["resources"].as_array().map_or(&[][..], Vec::as_slice);
        let [rule] = rules else {
            return Err(unreadable("one list of resources is wanted"));
        };
        let strings = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|at| at.as_str().map(str::to_owned)).collect()
        };
        let resources = strings(&rule["resources"]).unwrap_or_default();
        let (mut keys, mut plain, mut first) = (Vec::new(), false, true);
        for provider in rule["providers"].as_array().map_or(&[][..], Vec::as_slice) {
            match read(provider) {
                Some(found) if found.is_empty() => plain |= first,
                Some(found) => keys.extend(found),
                None => return Err(unreadable("it has a provider that is not known here")),
            }
            first = false;
        }
        if keys.is_empty() || resources.is_empty() {
            return Err(unreadable("it holds no key"));
        }
        Ok(Self { list: keys, plain, resources })
    }
}

fn provider(key: &Key) -> Value {
    json!({ key.provider.name(): { "keys": [{ "name": key.name, "secret": key.secret }] } })
}

/// The keys of a provider; none for `identity`.
fn read(value: &Value) -> Option<Vec<Key>> {
    let (name, value) = value.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    if name == "identity" {
        return Some(Vec::new());
    }
    let known = [CipherProvider::Secretbox, CipherProvider::Aescbc, CipherProvider::Aesgcm];
    let provider = known.into_iter().find(|known| known.name() == name)?;
    let keys = value["keys"].as_array().filter(|keys| !keys.is_empty())?;
    let key = |key: &Value| {
        let (name, secret) = (key["name"].as_str()?.into(), key["secret"].as_str()?.into());
        Some(Key { provider, name, secret })
    };
    keys.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use kspec::cluster::{CipherProvider, Encryption};
    use proptest::prelude::*;

    use super::{Keys, Next};

    fn wanted(enabled: bool, provider: CipherProvider) -> Encryption {
        Encryption { enabled, provider, ..Encryption::default() }
    }

    /// A file with one key.
    fn one() -> Keys {
        let wanted = wanted(true, CipherProvider::Secretbox);
        let Next::Add(none) = Keys::next(None, &wanted) else { panic!("a key is needed") };
        none.with_new_key(wanted.provider).unwrap()
    }

    /// The kinds and names in a rendered file, in order.
    fn order(keys: &Keys) -> String {
        let text = keys.render().unwrap();
        let words = text.split_whitespace();
        let known = |word: &&str| {
            word.starts_with("key") && *word != "keys:"
                || ["secretbox:", "aescbc:", "aesgcm:", "identity:"].contains(word)
        };
        words.filter(known).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_written_is_read() {
        let keys = one();
        assert_eq!(order(&keys), "secretbox: key1 identity:");
        assert!(Keys::parse(&keys.render().unwrap(), "x").unwrap() == keys);
        let plain = Keys { plain: true, ..keys };
        assert_eq!(order(&plain), "identity: secretbox: key1");
        assert!(Keys::parse(&plain.render().unwrap(), "x").unwrap() == plain);
    }

    #[test]
    fn each_key_is_another() {
        let (one, two) = (one(), one());
        assert!(one.list[0].secret != two.list[0].secret);
        assert_eq!(one.list[0].secret.len(), 44, "32 bytes in base64");
    }

    #[test]
    fn a_key_is_made_once_and_a_new_one_comes_first() {
        let secretbox = wanted(true, CipherProvider::Secretbox);
        let keys = one();
        assert!(Keys::next(Some(&keys), &secretbox) == Next::Same);
        let aescbc = wanted(true, CipherProvider::Aescbc);
        let Next::Add(next) = Keys::next(Some(&keys), &aescbc) else { panic!("another kind") };
        let next = next.with_new_key(aescbc.provider).unwrap();
        assert_eq!(order(&next), "aescbc: key2 secretbox: key1 identity:");
        assert!(Keys::next(Some(&next), &aescbc) == Next::Same);
        assert_eq!(next.writer(), "key2 secrets");
        let next = next.without_old_keys();
        assert_eq!(order(&next), "aescbc: key2 identity:");
    }

    #[test]
    fn keys_stay_when_nothing_is_encrypted_any_more() {
        let off = wanted(false, CipherProvider::Secretbox);
        assert!(Keys::next(None, &off) == Next::Same);
        let Next::Keep(plain) = Keys::next(Some(&one()), &off) else { panic!("first is plain") };
        assert_eq!(order(&plain), "identity: secretbox: key1");
        assert_eq!(plain.writer(), "identity secrets");
        assert!(Keys::next(Some(&plain), &off) == Next::Same);
        let on = wanted(true, CipherProvider::Secretbox);
        let Next::Keep(again) = Keys::next(Some(&plain), &on) else { panic!("the key is there") };
        assert_eq!(order(&again), "secretbox: key1 identity:");
    }

    #[test]
    fn kubesprays_file_is_gone_on_with_and_others_are_not_guessed_at() {
        let theirs = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n\
                      resources:\n- resources: [secrets]\n  providers:\n  - secretbox:\n      \
                      keys:\n      - {name: key, secret: c2VjcmV0}\n  - identity: {}\n";
        let keys = Keys::parse(theirs, "x").unwrap();
        assert_eq!(
            order(&keys.with_new_key(CipherProvider::Secretbox).unwrap()),
            "secretbox: key1 secretbox: key identity:"
        );
        for text in [
            "",
            "a: [c2VjcmV0",
            "resources: []",
            &theirs.replace("secretbox", "kms"),
            &theirs.replace("- {name: key, secret: c2VjcmV0}", "[]"),
        ] {
            let Err(error) = Keys::parse(text, "x") else { panic!("{text}") };
            assert_eq!(error.code(), "encryption-config-unreadable");
            assert!(!error.chain().contains("c2VjcmV0"), "{}", error.chain());
        }
    }

    const ONE_KEY: &str = "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
        - secretbox:\n      keys:\n      - {name: key, secret: aHVudGVyMg==}\n  - identity: {}\n";

    proptest! {
        #[test]
        fn a_slip_of_the_hand_shows_no_key(text in ktest::slip_of_the_hand(ONE_KEY)) {
            match Keys::parse(&text, "x") {
                Ok(keys) => prop_assert!(Keys::parse(&keys.render().unwrap(), "x").unwrap() == keys),
                Err(error) => {
                    prop_assert_eq!(error.code(), "encryption-config-unreadable");
                    prop_assert!(!error.chain().contains("aHVu"), "{}", error.chain());
                }
            }
        }
    }

    #[test]
    fn fuzz_encryption() {
        let seed = "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
                    - secretbox:\n      keys:\n      - {name: key, secret: aHVudGVyMg==}\n  - identity: {}\n";
        fuzz::text_target([seed], |text| {
            if let Ok(keys) = Keys::parse(text, "x") {
                assert!(Keys::parse(&keys.render().unwrap(), "x").unwrap() == keys);
            }
        });
    }
}
