#!/usr/bin/env bash
# Builds pinned Go programs into a cache folder unless they are there already. Prints the folder on standard output, and
# progress on standard error.
#
#   build.sh                   etcd, kube-apiserver and kubectl. If KUBEBUILDER_ASSETS is set, uses that folder instead.
#   build.sh PROGRAM           kube-controller-manager, helm, helm-docs, promtool, prometheus, actionlint, gitops or flux
#   build.sh node              the programs of a node: kubelet, containerd, runc, CNI plugins, pause; also kube-scheduler.
#                              Requires gcc, pkg-config and the development files of libseccomp.
#   build.sh monitoring-crds   the CustomResourceDefinitions of prometheus-operator
#   build.sh gitops-crds       the CustomResourceDefinitions of Argo CD and Flux
#   build.sh reference-crds    the CustomResourceDefinitions of ACK, Crossplane and Cluster API that vpcRef can name
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=${1:-control-plane}
if [[ $target == control-plane && -n ${KUBEBUILDER_ASSETS:-} ]]; then
    for program in etcd kube-apiserver kubectl; do
        [[ -x $KUBEBUILDER_ASSETS/$program ]] || {
            echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no executable $program" >&2
            exit 1
        }
    done
    echo "$KUBEBUILDER_ASSETS"
    exit
fi

if [[ $target == monitoring-crds ]]; then
    module=github.com/prometheus-operator/prometheus-operator
    cd prometheus-operator
    go mod download "$module" >&2
    echo "$(go list -m -f '{{.Dir}}' "$module")/example/prometheus-operator-crd"
    exit
fi

# The folder name has a hash of the pinned versions and of the source files here, so that a change leads to a new build.
case $target in
control-plane) modules=(kubernetes etcd) ;;
kube-controller-manager) modules=(kubernetes) ;;
node) modules=(kubernetes containerd runc cni) ;;
helm | helm-docs | promtool | prometheus | actionlint | gitops | gitops-crds | reference-crds | flux)
    modules=("$target")
    ;;
*)
    echo "usage: build.sh [kube-controller-manager | helm | helm-docs | promtool | prometheus | actionlint | gitops |" \
        "flux | node | monitoring-crds | gitops-crds | reference-crds]" >&2
    exit 2
    ;;
esac
pins=$(for module in "${modules[@]}"; do cat "$module"/*.go "$module/go.mod" "$module/go.sum" 2>/dev/null || true; done | git hash-object --stdin)
assets=${XDG_CACHE_HOME:-$HOME/.cache}/vpc-peering-operator/$target/${pins:0:12}
mkdir -p "$assets"

# build MODULE PACKAGE PROGRAM: builds under a temporary name first, so that an interrupted build leaves
# no broken program.
build() {
    local module=$1 package=$2 program=$3 flags='-s -w' tags='' cgo=0 version
    [[ -x $assets/$program ]] && return
    if [[ $module == kubernetes ]]; then
        version=$(cd kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
        IFS=. read -r major minor _ <<<"${version#v}"
        # Clients reject a server without a valid version.
        local stamp="-X k8s.io/component-base/version"
        flags+=" $stamp.gitVersion=$version $stamp.gitMajor=$major $stamp.gitMinor=$minor"
    fi
    # Tests and pictures need no service discovery, which has many dependencies.
    [[ $module == prom* ]] && tags=remove_all_sd
    # runc enters namespaces in C, and reads the default seccomp profile with libseccomp.
    [[ $module == runc ]] && tags=seccomp cgo=1
    local total
    total=$(cd "$module" && go list -tags "$tags" -deps "$package" | wc -l)
    echo "building $program (once; $total packages)" >&2
    (cd "$module" && CGO_ENABLED=$cgo go build -v -trimpath -tags "$tags" -ldflags "$flags" -o "$assets/$program.partial" "$package") 2>&1 |
        awk -v program="$program" -v total="$total" '
            /^[A-Za-z0-9_.\/-]+$/ { if (++n % 100 == 0) { printf "  %s: %d of %d packages\n", program, n, total; fflush() } next }
            { print; fflush() }' >&2
    mv "$assets/$program.partial" "$assets/$program"
}

# copy MODULE FILE: copies a file of a pinned module into the folder. Several tests may do so at once.
copy() {
    local name=${2##*/}
    [[ -e $assets/$name ]] && return
    (cd "$target" && go mod download "$1" >&2 && install -m 644 "$(go list -m -f '{{.Dir}}' "$1")/$2" "$assets/.$name.$$")
    mv "$assets/.$name.$$" "$assets/$name"
}

case $target in
control-plane)
    build etcd go.etcd.io/etcd/server/v3 etcd
    build kubernetes k8s.io/kubernetes/cmd/kubectl kubectl
    build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver
    ;;
kube-controller-manager) build kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager ;;
node)
    if [[ ! -x $assets/runc || ! -x $assets/pause ]]; then
        { command -v gcc && pkg-config --exists libseccomp; } >/dev/null || {
            echo "runc needs gcc, pkg-config and libseccomp; on Debian:" \
                "apt-get install gcc libc6-dev pkg-config libseccomp-dev" >&2
            exit 1
        }
    fi
    for program in containerd containerd-shim-runc-v2 ctr; do
        build containerd "github.com/containerd/containerd/v2/cmd/$program" "$program"
    done
    build runc github.com/opencontainers/runc runc
    for plugin in main/ptp main/loopback ipam/host-local; do
        build cni "github.com/containernetworking/plugins/plugins/$plugin" "${plugin#*/}"
    done
    build kubernetes k8s.io/kubernetes/cmd/kube-scheduler kube-scheduler
    build kubernetes k8s.io/kubernetes/cmd/kubelet kubelet
    # The process that holds the namespaces of a pod.
    if [[ ! -x $assets/pause ]]; then
        source=$(cd kubernetes && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c
        gcc -O2 -static -DVERSION=pinned -o "$assets/pause.partial" "$source"
        mv "$assets/pause.partial" "$assets/pause"
    fi
    ;;
helm) build helm helm.sh/helm/v4/cmd/helm helm ;;
helm-docs) build helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs helm-docs ;;
promtool) build promtool github.com/prometheus/prometheus/cmd/promtool promtool ;;
prometheus) build prometheus github.com/prometheus/prometheus/cmd/prometheus prometheus ;;
actionlint) build actionlint github.com/rhysd/actionlint/cmd/actionlint actionlint ;;
gitops) build gitops . gitops ;;
flux)
    build flux github.com/fluxcd/kustomize-controller kustomize-controller
    build flux github.com/fluxcd/helm-controller helm-controller
    ;;
gitops-crds)
    copy github.com/argoproj/argo-cd/v3 manifests/crds/application-crd.yaml
    copy github.com/fluxcd/helm-controller config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml
    copy github.com/fluxcd/kustomize-controller config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml
    for kind in gitrepositories ocirepositories buckets externalartifacts helmrepositories helmcharts; do
        copy github.com/fluxcd/source-controller "config/crd/bases/source.toolkit.fluxcd.io_$kind.yaml"
    done
    ;;
reference-crds)
    copy github.com/aws-controllers-k8s/ec2-controller config/crd/bases/ec2.services.k8s.aws_vpcs.yaml
    copy github.com/upbound/provider-aws package/crds/ec2.aws.upbound.io_vpcs.yaml
    copy sigs.k8s.io/cluster-api-provider-aws/v2 config/crd/bases/infrastructure.cluster.x-k8s.io_awsclusters.yaml
    ;;
esac
echo "$assets"
