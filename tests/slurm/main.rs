//! Engines as steps of a real Slurm: two nodes on this machine, brought up by `two_nodes.sh`. Where Slurm isn't installed,
//! or this user is not root, the tests say that they are left out.

mod cluster;
mod ends;
mod kills;
mod launches;
mod submits;
mod wide;
