#!/usr/bin/env bash
# Puts what a release publishes into one archive: the program, man pages, completions.    usage: dist.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/dist}
cargo build --release --locked
version=$(target/release/topobench -V | cut -d' ' -f2)
name=topobench-$version-$(rustc -vV | sed -n 's/^host: //p')
rm -rf "${out:?}/$name"
mkdir -p "$out/$name"/{man,completions}
cp target/release/topobench LICENSE README.md CHANGELOG.md "$out/$name/"
target/release/topobench man "$out/$name/man"
for shell in bash zsh fish; do
  target/release/topobench completions $shell >"$out/$name/completions/topobench.$shell"
done
tar -C "$out" -czf "$out/$name.tar.gz" "$name"
(cd "$out" && sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256")
