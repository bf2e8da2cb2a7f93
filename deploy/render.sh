#!/usr/bin/env bash
# Renders the manifests that come from the chart: `render.sh FOLDER` writes them below FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tests/control-plane/build.sh helm)/helm

# render FILE TEMPLATE…
render() {
    local file=$1 only=()
    shift
    for template in "$@"; do only+=(--show-only "templates/$template.yaml"); done
    {
        echo '# Rendered from charts/vpc-peering-operator by `make generate`.'
        # The manifests are applied without Helm, so the labels of Helm are removed.
        "$helm" template vpc-peering-operator charts/vpc-peering-operator --namespace vpc-peering-system \
            --set image.repository=vpc-peering-operator \
            --set admission.deletionProtection=true,admission.identityUse=true "${only[@]}" |
            sed '/^ *helm\.sh\/chart: /d; /^ *app\.kubernetes\.io\/managed-by: Helm$/d; /^# Source: /d; /^ *$/d'
    } >"$folder/$file"
}

folder=$1
mkdir -p "$folder/base" "$folder/admission"
render base/deployment.yaml deployment
render base/rbac.yaml serviceaccount rbac
render base/admission.yaml admission-status admission-finalizer
render admission/deletion-protection.yaml admission-deletion-protection
render admission/identity-use.yaml admission-identity-use
