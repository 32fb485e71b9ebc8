//! A cluster whose certificates end: renewed in time by the timer's unit, renewed after all of them
//! have ended, put back when they do not work, and etcd's authority replaced.

use pipeline_tests::node::Node;

/// Shell functions: certificates that say the same and end when told. `openssl ca` signs what
/// openssl makes out of the certificate there is.
const LIVES: &str = r#"
ssl=/etc/kubernetes/ssl etcd=/etc/ssl/etcd/ssl
mkdir -p /root/ca; cd /root/ca
cat >ca.cnf <<'END'
[ca]
default_ca = it
[it]
database = /root/ca/index
rand_serial = yes
new_certs_dir = /root/ca
default_md = sha256
policy = any
copy_extensions = copyall
unique_subject = no
[any]
organizationName = optional
commonName = supplied
END
# again CERT KEY CA CAKEY WHEN: CERT ends at WHEN, as date(1) understands it.
again() {
  : >index
  openssl x509 -x509toreq -copy_extensions copyall -in "$1" -signkey "$2" -out csr 2>>log
  openssl ca -batch -config ca.cnf -preserveDN -in csr -notext -cert "$3" -keyfile "$4" -out new.pem \
    -startdate 20250101000000Z -enddate "$(date -u -d "$5" +%Y%m%d%H%M%SZ)" 2>>log || { tail log; exit 9; }
  cat new.pem >"$1"
}
# config FILE WHEN: likewise the certificate in a kubeconfig.
config() {
  sed -n 's/.*client-certificate-data: //p' "$1" | base64 -d >c.pem
  sed -n 's/.*client-key-data: //p' "$1" | base64 -d >k.pem
  again c.pem k.pem $ssl/ca.crt $ssl/ca.key "$2"
  sed -i "s|client-certificate-data: .*|client-certificate-data: $(base64 -w0 c.pem)|" "$1"
}
# all WHEN: everything but authorities and what is the kubelet's.
all() {
  for name in member admin node; do
    again $etcd/$name-node1.pem $etcd/$name-node1-key.pem $etcd/ca.pem $etcd/ca-key.pem "$1"
  done
  for name in apiserver apiserver-kubelet-client; do
    again $ssl/$name.crt $ssl/$name.key $ssl/ca.crt $ssl/ca.key "$1"
  done
  again $ssl/front-proxy-client.crt $ssl/front-proxy-client.key $ssl/front-proxy-ca.crt $ssl/front-proxy-ca.key "$1"
  for name in admin super-admin controller-manager scheduler; do config /etc/kubernetes/$name.conf "$1"; done
  cp /etc/kubernetes/admin.conf /root/.kube/config
}
kubelet() {
  current=$(readlink -f /var/lib/kubelet/pki/kubelet-client-current.pem)
  openssl x509 -in "$current" >c.pem; openssl pkey -in "$current" >k.pem
  again c.pem k.pem $ssl/ca.crt $ssl/ca.key "$1"
  cat c.pem k.pem >"$current"
}
# served HOST:PORT: the end of what is served there.
served() { openssl s_client -connect "$1" </dev/null 2>/dev/null | openssl x509 -noout -enddate; }
"#;

/// The API server is asked once in 100 ms, on a new connection each time, until `/root/stop` is there.
const PROBE: &str = r"
rm -f /root/stop
(until [ -e /root/stop ]; do
  date +%s.%N | tr '\n' ' '
  curl -so /dev/null -m 1 -w '%{http_code}\n' --cacert /etc/kubernetes/ssl/ca.crt https://127.0.0.1:6443/readyz
  sleep 0.1
done >/root/answers) &
";
/// How many of a hundred probes were answered, and the longest time in seconds without an answer.
const ANSWERED: &str = r#"
touch /root/stop
awk '
  NR == 1 { last = $1 }
  $2 == 200 { n++; if ($1 - last > gap) gap = $1 - last; last = $1 }
  END { printf "%d %.1f", 100 * n / NR, gap }' /root/answers"#;

const KUBECTL: &str = "kubectl --request-timeout=5s";

#[test]
fn certificates_end_and_the_cluster_does_not() {
    let node = Node::boot("k8scert", "plain");
    node.must("make -C /root/k8steps up");
    node.must(&format!("cat >/root/lives <<'EOF'\n{LIVES}\nEOF"));

    knows_them_all(&node);
    renewed_in_time(&node);
    put_back(&node);
    killed(&node);
    torn(&node);
    renewed_after_their_end(&node);
    another_authority(&node);
    // Not kapps: a pod that ended while nobody answered is started again when its kubelet thinks fit.
    node.must("for phase in kprep kfetch kpki ketcd knode kcp kcni; do $phase check || exit; done");

    node.must("make -C /root/k8steps down");
    node.must("! ls /etc/systemd/system/k8s-certs-renew.* /var/lib/k8steps 2>/dev/null");
    node.down();
}

/// Every certificate on the node's disk has a row, and kubeadm sees the same ends.
fn knows_them_all(node: &Node) {
    let said = node.must("kpki status");
    assert_eq!(said.lines().count(), 17, "{said}");
    node.must(
        "kpki status --json | jq -r .file >/root/known
         for file in $(find /etc/kubernetes /etc/ssl/etcd /var/lib/kubelet/pki -name '*.crt' -o -name '*.pem' |
             grep -v -e '-key.pem$' -e 'kubelet-client-2' -e 'kubelet-server-2'); do
           grep -qx \"$file\" /root/known || { echo \"$file is not listed\"; exit 1; }
         done
         for file in /etc/kubernetes/*.conf; do
           grep -qx -e \"$file\" -e /var/lib/kubelet/pki/kubelet-client-current.pem /root/known || exit 1
         done",
    );
    node.must(
        "kubeadm certs check-expiration -o json --config /etc/kubernetes/kubeadm-config.yaml 2>/dev/null |
           jq -r '.certificates[] | select(.name | test(\"etcd\") | not) | \"\\(.name) \\(.expirationDate)\"' | sort >/root/kubeadm
         kpki status --json | jq -r 'select(.name | IN(\"admin.conf\", \"apiserver\", \"apiserver-kubelet-client\",
           \"controller-manager.conf\", \"front-proxy-client\", \"scheduler.conf\", \"super-admin.conf\")) |
           \"\\(.name) \\(.[\"not-after\"])\"' | sort >/root/kpki
         [ -s /root/kpki ] && diff <(grep -Ff <(cut -d' ' -f1 /root/kpki) /root/kubeadm) /root/kpki",
    );
    assert_eq!(node.must("systemctl is-enabled k8s-certs-renew.timer"), "enabled\n");
    node.must("systemctl list-timers --no-pager | grep -E 'Mon .* k8s-certs-renew.timer +k8s-certs-renew.service'");
}

/// By the timer's own unit, while the API server is asked.
fn renewed_in_time(node: &Node) {
    node.must(". /root/lives; all '20 days'");
    node.ends("kpki status", 3, "apiserver                 due    19");
    node.must("sleep 1; . /root/lives; served 127.0.0.1:6443 >/root/before");
    let renew =
        "systemctl start k8s-certs-renew.service || { journalctl -u k8s-certs-renew; exit 1; }";
    node.must(&format!("{PROBE} {renew}\n{ANSWERED} >/root/percent"));
    let answered = node.must("cat /root/percent");
    let percent: u32 =
        answered.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    assert!(percent >= 95, "{percent} of 100 probes were answered");
    node.must("kpki status");
    node.must(
        ". /root/lives; for port in 6443:$ssl/apiserver.crt 2379:$etcd/member-node1.pem; do
           diff <(served 127.0.0.1:${port%%:*}) <(openssl x509 -noout -enddate -in ${port#*:}) || exit 1
         done",
    );
    works(node);
    assert!(node.must("kpki renew").contains("nothing to do"));
}

/// Everything that uses a certificate is used, and no phase wants a change.
fn works(node: &Node) {
    node.must(&format!("{KUBECTL} get nodes | grep -w Ready"));
    node.must(&format!("{KUBECTL} --kubeconfig /etc/kubernetes/super-admin.conf auth whoami | grep kubernetes-super-admin"));
    // kube-proxy, when it has lost the API server a few times, waits before it asks again.
    for asked in ["-n kube-system logs ds/kube-proxy --tail=1", "top node"] {
        node.must(&format!(
            "timeout 180 bash -c 'until {KUBECTL} {asked} 2>/root/why; do sleep 0.5; done' || {{ cat /root/why; exit 1; }}"
        ));
    }
    for phase in ["kpki", "ketcd", "knode", "kcp"] {
        node.must(&format!("{phase} check"));
    }
}

/// One that does not work gets the old one back: here another authority lies where etcd's was, which
/// etcd itself, having read its own at its start, does not know.
fn put_back(node: &Node) {
    node.must(
        "cd /etc/ssl/etcd/ssl; mkdir /root/keep; cp -p ca*.pem /root/keep
         sha256sum /etc/ssl/etcd/ssl/admin-* >/root/sums
         openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=etcd-ca -days 99 -keyout ca-key.pem -out ca.pem 2>/dev/null",
    );
    let said = node.ends("kpki renew etcd-admin --timeout 3", 1, "error[renewal-undone]");
    assert!(said.contains("the old one is back"), "{said}");
    node.must("sha256sum -c /root/sums");
    // The old one is of no use either: the new one stays, and what is wrong is told.
    node.must(". /root/lives; again $etcd/admin-node1.pem $etcd/admin-node1-key.pem $etcd/ca.pem $etcd/ca-key.pem '1 hour ago'");
    let said = node.ends("kpki renew etcd-admin --timeout 3", 1, "error[renewal-not-working]");
    assert!(said.contains("mend that, then `kpki renew` again"), "{said}");
    node.must("cp -p /root/keep/* /etc/ssl/etcd/ssl/; rm -r /root/keep");
    node.must("kpki renew etcd-admin");
    works(node);
}

/// Killed while a static pod restarts; the next run finishes it.
fn killed(node: &Node) {
    node.must("kpki renew scheduler.conf & until [ -e /var/lib/k8steps/renewal/scheduler.conf ]; do sleep 0.01; done; \
               sleep 0.3; kill -KILL $!; wait; true");
    node.ends(
        "kpki renew --plan",
        3,
        "renew scheduler.conf, /etc/kubernetes/scheduler.conf: a renewal of it was interrupted",
    );
    node.must("kpki renew");
    node.must("! ls /var/lib/k8steps/renewal 2>/dev/null");
    node.must("kcp check");
}

/// Half a file and a key of another certificate are named, and issued anew by the next `kcp apply`,
/// also where the API server has tried and failed with them; what nothing can replace is not.
fn torn(node: &Node) {
    node.must("cd /etc/kubernetes/ssl; cp -p ca.key /root/; : >ca.key");
    let said = node.ends("kcp check", 1, "error[cluster-key-lost]");
    assert!(
        said.contains("ca.key` cannot be used (it is not whole), and a cluster uses it"),
        "{said}"
    );
    node.must(
        "cd /etc/kubernetes/ssl; mv /root/ca.key .; : >apiserver.crt
         cat front-proxy-client.key >apiserver-kubelet-client.key
         half=$(head -c 300 ../scheduler.conf); echo \"$half\" >../scheduler.conf",
    );
    let said = node.ends("kpki status", 3, "damaged");
    for name in ["apiserver", "apiserver-kubelet-client", "scheduler.conf"] {
        let row = format!("{name:<26}damaged");
        assert!(said.contains(&row), "{row}: {said}");
    }
    let what = "let kubeadm issue /etc/kubernetes/ssl/apiserver.crt (it is not whole), \
                /etc/kubernetes/ssl/apiserver-kubelet-client.crt (it and its key do not fit), \
                /etc/kubernetes/scheduler.conf (it is not whole)";
    node.ends("kcp check", 3, what);
    node.must("pkill -KILL -x kube-apiserver");
    node.ends("kcp check", 1, what);
    node.must("kcp apply");
    node.must("kpki status");
    works(node);
}

/// All have ended, the kubelet's too, and everything has been started with them.
fn renewed_after_their_end(node: &Node) {
    node.must(". /root/lives; all '1 hour ago'; kubelet '1 hour ago'");
    // Killed: one that is told to end waits a minute for those who watch.
    node.must("systemctl restart --no-block etcd; systemctl restart kubelet; pkill -KILL -x kube-apiserver");
    node.must(&format!("timeout 60 bash -c 'while {KUBECTL} get nodes; do sleep 0.2; done'"));
    node.ends("kpki status", 3, "kubelet-client            ended");
    node.must("kpki renew");
    node.must("kpki status");
    node.must(&format!(
        "timeout 60 bash -c 'until {KUBECTL} get nodes | grep -w Ready; do sleep 0.5; done'"
    ));
    works(node);
}

/// etcd's authority, key and all.
#[expect(clippy::print_stderr, reason = "a figure for whoever looks")]
fn another_authority(node: &Node) {
    node.must("cp /etc/ssl/etcd/ssl/ca.pem /root/old.pem; echo '# mine' >>/etc/etcd.env");
    let said = node.ends("kpki rotate-ca", 2, "error[rotation-not-settled]");
    assert!(said.contains("run `kpki apply`, `ketcd apply` and `kcp apply`"), "{said}");
    node.must("ketcd apply");
    node.must(&format!("{PROBE} kpki rotate-ca\n{ANSWERED} >/root/percent"));
    let answered = node.must("cat /root/percent");
    eprintln!("another authority: % of probes answered, longest silence in s: {answered}");
    let health = "cd /etc/ssl/etcd/ssl; curl -s --cert admin-node1.pem --key admin-node1-key.pem https://127.0.0.1:2379/health";
    node.must(&format!("{health} --cacert ca.pem | grep true"));
    node.ends(&format!("{health} --cacert /root/old.pem"), 60, "");
    node.must("kpki status");
    works(node);
}
