//! A whole cluster taken back to what it was when a snapshot was saved: what was made since is
//! gone, what was there is there, and everything that remembers goes on from there.

use pipeline_tests::node::Node;

const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";
const NEWEST: &str = "ls -t /var/backups/etcd/*.db | head -1";

#[test]
fn a_cluster_goes_back_to_its_snapshot() {
    let node = Node::boot("k8sback", "plain");
    node.must("make -C /root/k8steps up");
    node.must(&format!(
        "{KUBECTL} create configmap early --from-literal=a=1 && {KUBECTL} create namespace doomed"
    ));
    let version = |name: &str| {
        let get =
            format!("{KUBECTL} get configmap {name} -o jsonpath='{{.metadata.resourceVersion}}'");
        node.must(&get).trim().parse::<u64>().unwrap()
    };
    let early = version("early");
    node.must("ketcd backup");
    node.must(&format!(
        "{KUBECTL} create configmap late --from-literal=a=2 && {KUBECTL} delete namespace doomed \
         && {KUBECTL} patch configmap early -p '{{\"data\":{{\"a\":\"3\"}}}}' && {KUBECTL} create \
         deployment late --image=docker.io/k8steps/toolbox:1 -- sleep 3600 && {KUBECTL} rollout \
         status deployment late --timeout=120s"
    ));
    let late = version("late");

    node.must(&format!("ketcd restore $({NEWEST}) --force"));
    node.must(&format!(
        "{KUBECTL} get configmap early -o jsonpath={{.data.a}} | grep -x 1 && {KUBECTL} get \
         namespace doomed"
    ));
    node.ends(&format!("{KUBECTL} get configmap late"), 1, "NotFound");
    node.ends(&format!("{KUBECTL} get deployment late"), 1, "NotFound");
    assert_eq!(version("early"), early, "an object has the revision it was saved with");
    node.must("make -C /root/k8steps status");

    // Who watches has begun anew: controllers, scheduler and kubelet bring a new pod to life, at
    // revisions that nobody saw before, and the pod that never was ends.
    node.must(&format!(
        "{KUBECTL} create configmap again && {KUBECTL} create deployment again \
         --image=docker.io/k8steps/toolbox:1 -- sleep 3600 && {KUBECTL} rollout status deployment \
         again --timeout=120s"
    ));
    assert!(version("again") > late + 900_000_000, "the revision was not raised");
    node.must(
        "timeout 120 sh -c 'while crictl pods --state Ready --name late- -q | grep -q .; do sleep \
         0.5; done'",
    );
    node.probe();
    node.must("make -C /root/k8steps plan && make -C /root/k8steps status");
    node.down();
}
