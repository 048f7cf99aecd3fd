# The recipes are what CI runs: each calls a step of .ci/run, which works without just, too.
# `cargo install --locked just` or `pip install rust-just` brings just.

# Lists the recipes.
default:
    @just --list --unsorted

# Runs what must hold before a change lands (without real vLLM, Ray and the wheel, which CI adds).
check:
    .ci/run

# Checks the formatting.
fmt:
    .ci/run fmt

# Lints; warnings are errors.
clippy:
    .ci/run clippy

# Builds the documentation; warnings are errors.
doc:
    .ci/run doc

# Checks licences, sources and advisories against .deny.toml.
licences:
    .ci/run licences

# Runs the tests: `cargo test --workspace`, and a summary.
test:
    .ci/run test

# Installs real vLLM for the CPU (about 4 GB) and runs its tests with it.
real-vllm:
    .ci/run vllm test

# Installs Ray Serve (about 0.4 GB) and runs its test with it.
real-ray:
    .ci/run ray test

# Validates the manifests of docs/recipes against the schemas of what would run them.
recipes:
    .ci/run recipes

# Builds the wheel for PyPI into target/wheels, installs it into a clean environment and tries it there.
wheel:
    .ci/run wheel

# Builds the release binary, man pages and completions into target/dist.
dist:
    .ci/run dist
