//! A certificate and its key, as two files in etcd's certificate directory.

use std::path::PathBuf;

use khost::{Context, Host, Owner, Result, Status, Step as _, Thing, fs, steps::file::File};
use kspec::paths::ETCD_CERT_DIR;
use rcgen::KeyPair;

use crate::inspect::Seen;

/// Two files: `NAME.pem`, for all who may enter the directory, and `NAME-key.pem`, 0600.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// The certificate, by its path on the host.
    pub(crate) cert: PathBuf,
    /// The key.
    pub(crate) key: PathBuf,
    owner: Owner,
}

/// What a file holds: nothing when it is not there, or why it cannot be used.
pub(crate) type Found<T> = Option<Result<T, String>>;

impl Pair {
    /// The pair called `name`, whose key only `owner` may read.
    pub(crate) fn new(name: &str, owner: Owner) -> Self {
        let cert = format!("{ETCD_CERT_DIR}/{name}.pem").into();
        Self { cert, key: format!("{ETCD_CERT_DIR}/{name}-key.pem").into(), owner }
    }

    /// Who may read the key.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Name of the step that looks after it.
    pub(crate) fn id(&self) -> String {
        format!("certificate:{}", self.cert.display())
    }

    /// The certificate on disk.
    pub(crate) fn certificate(&self, host: &Host) -> Result<Found<Seen>> {
        Ok(fs::read(&host.path(&self.cert))?.map(|bytes| Seen::parse(&bytes)))
    }

    /// The key on disk.
    pub(crate) fn private_key(&self, host: &Host) -> Result<Found<KeyPair>> {
        let text = fs::read_text(&host.path(&self.key))?;
        Ok(text.map(|text| KeyPair::from_pem(&text).map_err(|error| error.to_string())))
    }

    /// Whether both files, which are there, have the mode and owner they should have.
    pub(crate) fn attributes(&self, context: &Context<'_>) -> Result<Status> {
        for file in self.files(context.host)? {
            let status = file.check(context)?;
            if status != Status::Done {
                return Ok(status);
            }
        }
        Ok(Status::Done)
    }

    /// Give both files their mode and owner, and leave what they say.
    pub(crate) fn mend(&self, context: &Context<'_>) -> Result<()> {
        self.files(context.host)?.iter().try_for_each(|file| file.apply(context))
    }

    /// Replace the key (none: it stays) and then the certificate. Dying in between leaves a
    /// certificate that does not match its key, which the next look finds.
    pub(crate) fn write(
        &self,
        context: &Context<'_>,
        key: Option<&KeyPair>,
        certificate: &str,
    ) -> Result<()> {
        let key = key.map(KeyPair::serialize_pem);
        self.put(context, key.as_deref(), certificate)
    }

    /// Likewise, with the key as PEM.
    pub(crate) fn put(&self, context: &Context<'_>, key: Option<&str>, cert: &str) -> Result<()> {
        if let Some(key) = key {
            self.key_file(key.as_bytes().to_vec()).apply(context)?;
        }
        self.cert_file(cert.as_bytes().to_vec()).apply(context)
    }

    /// Both files, for the journal.
    pub(crate) fn things(&self) -> Vec<Thing> {
        vec![Thing::File(self.key.clone()), Thing::File(self.cert.clone())]
    }

    fn files(&self, host: &Host) -> Result<Vec<File>> {
        let key = fs::read(&host.path(&self.key))?.map(|bytes| self.key_file(bytes));
        let cert = fs::read(&host.path(&self.cert))?.map(|bytes| self.cert_file(bytes));
        Ok(key.into_iter().chain(cert).collect())
    }

    fn key_file(&self, bytes: Vec<u8>) -> File {
        File::new(&self.key).mode(0o600).owner(self.owner.clone()).secret(bytes)
    }

    fn cert_file(&self, bytes: Vec<u8>) -> File {
        File::new(&self.cert).mode(0o644).owner(self.owner.clone()).secret(bytes)
    }
}
