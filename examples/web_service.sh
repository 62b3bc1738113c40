#!/bin/bash
# From nothing to a service: an image made of Debian's packages, nginx in a container, a page on the host shown through a published port.
# Run by `make run`. Settings: DOCKER_HOST (the engine to use; without it, the system's own, started when none listens), PORT (8080).
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="$PWD/.venv/bin:$PATH"
port=${PORT:-8080} image=debian:nginx name=orlop-example-web site=$PWD/.cache/site

step() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

[ "$(id -u)" = 0 ] || { echo "this needs root: sudo make run" >&2; exit 1; }

step "the engine: $(orlop version --format 'orlop {{.Server.Version}}, Docker API {{.Server.APIVersion}}')"

if orlop image inspect $image >/dev/null 2>&1; then
  step "the image $image is there"
else
  step "making the image $image from Debian's packages (about a minute, once)"
  orlop image bootstrap debian:bookworm --package nginx-light --tag $image
fi

mkdir -p "$site"
printf '<h1>Hello from inside a container</h1>\n<p>Served by nginx, run by Orlop.</p>\n' >"$site/index.html"

step "starting nginx, with $site as its pages"
orlop rm -f $name >/dev/null 2>&1 || true
orlop run -d --name $name -p "$port:80" -v "$site:/var/www/html:ro" $image nginx -g 'daemon off;' >/dev/null

step "http://127.0.0.1:$port/ says:"
for _ in $(seq 50); do
  if page=$(python3 -c "import sys, urllib.request as u; print(u.urlopen('http://127.0.0.1:$port/', timeout=5).read().decode(), end='')" 2>/dev/null); then
    printf '%s\n' "$page"
    break
  fi
  sleep 0.1
done
[ -n "${page:-}" ] || { orlop logs $name; echo "no answer on port $port" >&2; exit 1; }

step "orlop ps"
orlop ps
step "it runs on; remove it with: sudo .venv/bin/orlop rm -f $name"
