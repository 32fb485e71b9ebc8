//! flannel's own CNI program, out of its image.
//!
//! kubespray and flannel let an init container copy it. The kubelet sees the end of one at its next
//! look, once a second, and flanneld would begin only then, on every node.

use khost::{
    Result, artifacts,
    steps::{deferred::Deferred, file::File},
};
use kspec::{paths::CNI_BIN_DIR, state::Artifacts};

use crate::layers;

/// The image, as the lock calls it. No pod runs it.
const IMAGE: &str = "flannel-cni-plugin";
/// The program's path in it.
const NAME: &str = "flannel";

/// `/opt/cni/bin/flannel`, owned by root as the container left it.
pub(crate) fn installed(store: &Artifacts) -> Result<Deferred> {
    let (image, path) = (artifacts::image(store, IMAGE)?.clone(), format!("{CNI_BIN_DIR}/{NAME}"));
    Ok(Deferred::new(path.clone(), move |context| {
        let bytes = layers::file(context.host, &image, NAME)?;
        Ok(Some(File::new(&path).mode(0o755).binary(bytes)))
    }))
}
