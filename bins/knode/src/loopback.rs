//! The store as a registry on the loopback interface, for as long as containerd pulls from it.
//!
//! Importing an archive makes three programs handle every byte: one packs it, `ctr` unpacks it
//! and sends it in messages, containerd takes it out of them. A pull is containerd's own path: it
//! reads a blob and unpacks it, and asks for what it does not have, so nothing is sent twice.
//! (OCI distribution spec, "pull"; containerd: `docs/hosts.md`.)

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use futures_util::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use khost::{Error, Host, Result, fs};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::io::ReaderStream;

use crate::image::{Blob, Image};

/// Where containerd is told of it, for `ctr images pull --hosts-dir`.
pub(crate) const HOSTS_DIR: &str = "/run/k8steps/images";
/// Bytes read from a file at once.
const PIECE: usize = 1 << 18;

/// A registry that offers some images; it ends, and is forgotten, when this is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    hosts_dir: PathBuf,
    stop: Option<oneshot::Sender<Infallible>>,
    server: Option<JoinHandle<()>>,
}

impl Registry {
    /// Offer `images`, and write down for containerd, and nobody else, where: the path holds a
    /// secret, so that no other user of the machine reads images that may be private.
    pub(crate) fn open(host: &Host, images: &[Image]) -> Result<Self> {
        let failed = |error| Error::io("offer images on", Path::new("127.0.0.1"), error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let secret = secret()?;
        let hosts_dir = host.path(HOSTS_DIR);
        announce(&hosts_dir, address, &secret)?;

        let shelf = Arc::new(Shelf::new(&secret, images));
        let (stop, stopped) = oneshot::channel();
        let server = std::thread::spawn(move || runtime.block_on(serve(listener, shelf, stopped)));
        Ok(Self { hosts_dir, stop: Some(stop), server: Some(server) })
    }

    /// The directory to give `ctr images pull --hosts-dir`.
    pub(crate) fn hosts_dir(&self) -> &Path {
        &self.hosts_dir
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.server.take().is_some_and(|server| server.join().is_err()) {
            tracing::debug!("the registry on 127.0.0.1 ended early");
        }
        if let Err(error) = fs::remove_tree(&self.hosts_dir) {
            tracing::warn!("{}", error.chain());
        }
    }
}

/// A name that nobody can guess (Linux: `random(4)`, 122 random bits).
fn secret() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = fs::read_text(path)?.unwrap_or_default();
    Ok(text.trim().to_owned())
}

/// Write `hosts.toml` for every registry's images. As `server` it is also the last that is asked:
/// what is not here is not looked for on the internet.
fn announce(hosts_dir: &Path, address: SocketAddr, secret: &str) -> Result<()> {
    let dir = hosts_dir.join("_default");
    fs::make_dirs(&dir, 0o700)?;
    let text = format!(
        "server = \"http://{address}/{secret}\"\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n"
    );
    let private = fs::Attributes { mode: 0o600, owner: None };
    fs::write(&dir.join("hosts.toml"), text.as_bytes(), private)
}

/// What is offered.
#[derive(Debug)]
struct Shelf {
    secret: String,
    /// By digest; the same under the name of its image: `registry.k8s.io/pause:3.10`.
    manifests: BTreeMap<String, Arc<Manifest>>,
    blobs: BTreeMap<String, Blob>,
}

#[derive(Debug)]
struct Manifest {
    digest: String,
    media_type: String,
    bytes: Bytes,
}

/// What a request is answered with.
#[derive(Debug)]
enum Found {
    Manifest(Arc<Manifest>),
    Blob(Blob),
}

impl Shelf {
    fn new(secret: &str, images: &[Image]) -> Self {
        let mut shelf =
            Self { secret: secret.into(), manifests: BTreeMap::new(), blobs: BTreeMap::new() };
        for image in images {
            let manifest = Arc::new(Manifest {
                digest: image.digest.to_string(),
                media_type: image.media_type.clone(),
                bytes: image.manifest.clone().into(),
            });
            for name in [image.digest.to_string(), image.reference.clone()] {
                shelf.manifests.insert(name, Arc::clone(&manifest));
            }
            for blob in &image.blobs {
                shelf.blobs.insert(blob.digest.to_string(), blob.clone());
            }
        }
        shelf
    }

    /// `/SECRET/NAME/manifests/TAG?ns=REGISTRY`, or with a digest in place of the tag, or
    /// `/SECRET/NAME/blobs/DIGEST`.
    fn find(&self, path: &str, query: Option<&str>) -> Option<Found> {
        let path = path.strip_prefix('/')?.strip_prefix(self.secret.as_str())?.strip_prefix('/')?;
        let mut parts = path.rsplitn(3, '/');
        let (wanted, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        match kind {
            "blobs" => self.blobs.get(wanted).cloned().map(Found::Blob),
            "manifests" => {
                let registry = || query?.split('&').find_map(|pair| pair.strip_prefix("ns="));
                let manifest = self.manifests.get(wanted).or_else(|| {
                    self.manifests
                        .get(&format!("{}/{name}:{wanted}", registry()?.replace("%3A", ":")))
                });
                manifest.cloned().map(Found::Manifest)
            }
            _ => None,
        }
    }
}

/// Answer until nobody holds the other end of `stopped`.
async fn serve(
    listener: TcpListener,
    shelf: Arc<Shelf>,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    let pulls = tokio::task::LocalSet::new();
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let shelf = Arc::clone(&shelf);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(Arc::clone(&shelf), request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    tracing::debug!("a pull broke off: {error}");
                }
            });
        }
    };
    let accept = pulls.run_until(accept);
    tokio::select! {
        () = accept => {}
        _ = &mut stopped => {}
    }
}

async fn answer(
    shelf: Arc<Shelf>,
    request: Request<Incoming>,
) -> std::result::Result<Response<BoxBody<Bytes, io::Error>>, Infallible> {
    let found = shelf.find(request.uri().path(), request.uri().query());
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = match found {
        _ if !read => refusal(StatusCode::METHOD_NOT_ALLOWED),
        None => refusal(StatusCode::NOT_FOUND),
        Some(Found::Manifest(manifest)) => {
            let body = Full::new(manifest.bytes.clone()).map_err(|never| match never {}).boxed();
            offer(&manifest.digest, &manifest.media_type, manifest.bytes.len() as u64, body)
        }
        Some(Found::Blob(blob)) => {
            let body =
                if *request.method() == Method::HEAD { Ok(nothing()) } else { stream(&blob).await };
            match body {
                Ok(body) => {
                    let digest = blob.digest.to_string();
                    offer(&digest, "application/octet-stream", blob.size, body)
                }
                Err(error) => {
                    tracing::warn!("cannot read `{}`: {error}", blob.path.display());
                    refusal(StatusCode::INTERNAL_SERVER_ERROR)
                }
            }
        }
    };
    Ok(response)
}

/// A blob's bytes, piece after piece.
async fn stream(blob: &Blob) -> io::Result<BoxBody<Bytes, io::Error>> {
    let file = tokio::fs::File::open(&blob.path).await?;
    let pieces = ReaderStream::with_capacity(file, PIECE).map_ok(Frame::data);
    Ok(StreamBody::new(pieces).boxed())
}

fn offer(
    digest: &str,
    media_type: &str,
    size: u64,
    body: BoxBody<Bytes, io::Error>,
) -> Response<BoxBody<Bytes, io::Error>> {
    Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_LENGTH, size)
        .header("Docker-Content-Digest", digest)
        .body(body)
        .unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR))
}

fn refusal(status: StatusCode) -> Response<BoxBody<Bytes, io::Error>> {
    let mut response = Response::new(nothing());
    *response.status_mut() = status;
    response
}

fn nothing() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use reqwest::blocking::{Client, Response};

    use super::Registry;
    use crate::image::{self, tests::Store};

    /// What containerd would read in `hosts.toml`.
    fn server(registry: &Registry) -> String {
        let path = registry.hosts_dir().join("_default/hosts.toml");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        let hosts: toml::Table = text.parse().unwrap();
        assert_eq!(hosts["override_path"], toml::Value::Boolean(true));
        hosts["server"].as_str().unwrap().to_owned()
    }

    fn get(url: &str) -> Response {
        Client::builder().no_proxy().build().unwrap().get(url).send().unwrap()
    }

    #[test]
    fn images_are_found_by_name_and_by_digest() {
        let store = Store::new();
        let images = [
            store.image("registry.example:5000/a/b:1", &[b"base", b"of b"]),
            store.image("docker.io/a/b:1", &[b"base", &vec![7; 1 << 20]]),
        ];
        let whole = image::all(&store.host(), &images).unwrap();
        let registry = Registry::open(&store.host(), &whole).unwrap();
        let server = server(&registry);

        for (ns, image) in [("registry.example%3A5000", &images[0]), ("docker.io", &images[1])] {
            let found = get(&format!("{server}/a/b/manifests/1?ns={ns}"));
            assert_eq!(found.headers()["docker-content-digest"], image.digest.to_string());
            let same = get(&format!("{server}/a/b/manifests/{}?ns={ns}", image.digest));
            assert_eq!(found.bytes().unwrap(), same.bytes().unwrap());
        }
        for blob in whole.iter().flat_map(|image| &image.blobs) {
            let url = format!("{server}/a/b/blobs/{}", blob.digest);
            let head = Client::builder().no_proxy().build().unwrap().head(&url).send().unwrap();
            assert_eq!(head.headers()["content-length"], blob.size.to_string());
            assert_eq!(get(&url).bytes().unwrap(), std::fs::read(&blob.path).unwrap());
        }
        assert_eq!(get(&format!("{server}/a/b/manifests/2?ns=docker.io")).status(), 404);
        let other = format!("{server}/a/b/blobs/sha256:{:064}", 0);
        assert_eq!(get(&other).status(), 404);
    }

    #[test]
    fn who_does_not_know_the_secret_gets_nothing() {
        let store = Store::new();
        let whole = image::all(&store.host(), &[store.image("r/a:1", &[b"a"])]).unwrap();
        let registry = Registry::open(&store.host(), &whole).unwrap();
        let server = server(&registry);
        let (open, secret) = server.rsplit_once('/').unwrap();
        let digest = whole[0].digest;
        assert_eq!(get(&format!("{server}/a/manifests/{digest}")).status(), 200);
        assert_eq!(get(&format!("{open}/a/manifests/{digest}")).status(), 404);
        assert_eq!(get(&format!("{open}/{}/a/manifests/{digest}", &secret[1..])).status(), 404);
    }

    #[test]
    fn nothing_is_left_of_it() {
        let store = Store::new();
        let whole = image::all(&store.host(), &[store.image("r/a:1", &[b"a"])]).unwrap();
        let registry = Registry::open(&store.host(), &whole).unwrap();
        let (dir, server) = (registry.hosts_dir().to_owned(), server(&registry));
        drop(registry);
        assert!(!dir.exists());
        let client = Client::builder().no_proxy().build().unwrap();
        assert!(client.get(server).send().unwrap_err().is_connect());
    }
}
