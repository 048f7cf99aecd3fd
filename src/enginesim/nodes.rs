//! An engine over several nodes: the first node's process answers requests, the others are headless and work for it.
//!
//! All meet where the flags say: of ranks that lie over nodes each node is a member, of whole data-parallel ranks on nodes
//! each rank is. The first waits for all of them before it serves, and ends when one is gone; the others end with it. A
//! member introduces itself with a line and keeps the connection. All work is simulated in the first one.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::enginesim::args::NodeArgs;
use crate::enginesim::log::{self, Source};
use topobench::predict::model::Parallelism;

/// Between two attempts to reach the first one, which may not listen yet.
const RETRY: Duration = Duration::from_millis(50);

/// Why a process can't be one of several. The words begin as vLLM's exceptions do.
#[derive(Debug, Error)]
pub(super) enum MemberError {
    #[error(
        "ValueError: Invalid data-parallel launch options: `--nnodes {nnodes}` must evenly divide the total world size ({world})."
    )]
    Nodes { nnodes: u32, world: u32 },
    #[error(
        "ValueError: Invalid data-parallel launch options: `--node-rank` must be between 0 and {last}; got `--node-rank {rank}`."
    )]
    NodeRank { rank: u32, last: u32 },
    #[error("ValueError: data_parallel_size_local ({local}) must be <= data_parallel_size ({size})")]
    LocalRanks { local: u32, size: u32 },
    #[error(
        "ValueError: --api-server-count={0} cannot be used with --headless (no API servers are started in headless mode)."
    )]
    Headless(u32),
    #[error("ValueError: {0}: enginesim does not simulate that")]
    NotSimulated(&'static str),
}

/// Which part of the engine this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    ranks: Ranks,
    /// Of the whole engine.
    of: u32,
    /// Where all meet.
    address: String,
    port: u16,
    pub headless: bool,
}

/// Those that a process has, of nodes or of data-parallel ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ranks {
    first: u32,
    count: u32,
}

impl Ranks {
    fn all(self) -> impl Iterator<Item = u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

impl Member {
    /// `None`: this process is the whole engine.
    pub(super) fn resolve(
        args: &NodeArgs,
        size: Parallelism,
        api_servers: Option<u32>,
    ) -> Result<Option<Member>, MemberError> {
        let headless = args.headless;
        if let Some(servers) = api_servers.filter(|servers| headless && *servers > 0) {
            return Err(MemberError::Headless(servers));
        }
        let dp = size.data_parallel;
        if let Some(local) = args.data_parallel_size_local {
            if local > dp {
                return Err(MemberError::LocalRanks { local, size: dp });
            }
            if args.data_parallel_start_rank.is_some() && !headless {
                return Err(MemberError::NotSimulated(
                    "--data-parallel-start-rank without --headless (hybrid balancing)",
                ));
            }
            let first = args.data_parallel_start_rank.unwrap_or(0);
            let address = args.data_parallel_address.clone().unwrap_or_else(|| args.master_addr.clone());
            let ranks = Ranks { first, count: local };
            let member = Member { ranks, of: dp, address, port: args.data_parallel_rpc_port, headless };
            return Ok((local < dp).then_some(member));
        }
        let world = dp * size.tensor_parallel * size.pipeline_parallel;
        let nnodes = args.nnodes;
        if nnodes == 0 || !world.is_multiple_of(nnodes) {
            return Err(MemberError::Nodes { nnodes, world });
        }
        if args.node_rank >= nnodes {
            return Err(MemberError::NodeRank { rank: args.node_rank, last: nnodes - 1 });
        }
        if nnodes == 1 && headless {
            return Err(MemberError::NotSimulated("--headless alone"));
        }
        let (ranks, address) = (Ranks { first: args.node_rank, count: 1 }, args.master_addr.clone());
        Ok((nnodes > 1).then_some(Member { ranks, of: nnodes, address, port: args.master_port, headless }))
    }

    /// Waits for all others.
    pub(super) async fn gather(&self) -> io::Result<Vec<Joined>> {
        let mut all = Vec::new();
        let listener = TcpListener::bind((self.address.as_str(), self.port)).await?;
        let mut there: BTreeSet<u32> = self.ranks.all().collect();
        while (there.len() as u32) < self.of {
            log::info(
                Source::EngineCore,
                "utils.py:1183",
                &format!("Waiting for {} of {} ranks", self.of - there.len() as u32, self.of),
            );
            let (stream, from) = listener.accept().await?;
            let Some((ranks, stream)) = introduced(stream).await else { continue };
            if ranks.all().any(|rank| rank >= self.of || there.contains(&rank)) {
                log::error(
                    Source::EngineCore,
                    "utils.py:1201",
                    &format!("{from} says that it has ranks {ranks:?}, which is not so"),
                );
                continue;
            }
            there.extend(ranks.all());
            all.push(Joined { ranks, stream });
        }
        Ok(all)
    }

    /// Works for the first one until that ends, or until told to stop, which a deaf one doesn't hear.
    pub(super) async fn work(&self, deaf: bool) -> ExitCode {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            log::traceback(&["  ...", "OSError: cannot handle signals"]);
            return ExitCode::from(1);
        };
        tokio::select! {
            () = self.follow() => {
                log::error(Source::EngineCore, "multiproc_executor.py:263", "The first node is gone, shutting down.");
                ExitCode::from(1)
            }
            _ = terminate.recv(), if !deaf => ExitCode::SUCCESS,
            _ = interrupt.recv(), if !deaf => ExitCode::SUCCESS,
        }
    }

    async fn follow(&self) {
        let text = format!("Launching in headless mode, with head node address {}:{}", self.address, self.port);
        log::info(Source::EngineCore, "serve.py:255", &text);
        let mut stream = loop {
            match TcpStream::connect((self.address.as_str(), self.port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        };
        let mut line = serde_json::to_string(&self.ranks).unwrap_or_default();
        line.push('\n');
        if stream.write_all(line.as_bytes()).await.is_ok() {
            log::info(Source::EngineCore, "serve.py:301", "Joined the first node.");
            let _ = stream.read(&mut [0u8; 1]).await;
        }
    }
}

async fn introduced(stream: TcpStream) -> Option<(Ranks, BufReader<TcpStream>)> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    Some((serde_json::from_str(&line).ok()?, stream))
}

/// Another one, as the first one sees it.
#[derive(Debug)]
pub(super) struct Joined {
    ranks: Ranks,
    stream: BufReader<TcpStream>,
}

impl Joined {
    /// Waits for its end, then ends this process as vLLM ends when its engine has died: with exit code 0.
    pub(super) async fn end_with(mut self) {
        let _ = self.stream.read(&mut [0u8; 1]).await;
        let text = format!("Ranks {:?} died unexpectedly, shutting down executor.", self.ranks);
        log::error(Source::EngineCore, "multiproc_executor.py:263", &text);
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enginesim::args::{Cli, Command};
    use clap::Parser;

    fn member(words: &str) -> Option<Member> {
        let argv = ["enginesim", "serve", "qwen3-8b"].into_iter().chain(words.split_whitespace());
        let Command::Serve(args) = Cli::try_parse_from(argv).expect("valid").command else { panic!("serves") };
        let size = Parallelism {
            tensor_parallel: args.tensor_parallel_size,
            data_parallel: args.data_parallel_size,
            ..Parallelism::tensor(1)
        };
        Member::resolve(&args.nodes, size, args.inert.api_server_count).expect("valid")
    }

    fn met(words: &str) -> (Ranks, u32, String, bool) {
        let member = member(words).expect("one of several");
        (member.ranks, member.of, format!("{}:{}", member.address, member.port), member.headless)
    }

    #[test]
    fn nodes_are_members_where_ranks_lie_over_them_and_else_data_parallel_ranks_are() {
        assert_eq!(member("--data-parallel-size 2"), None);
        assert_eq!(member("--data-parallel-size 2 --data-parallel-size-local 2"), None);
        let tensor = "--tensor-parallel-size 8 --nnodes 2 --master-addr 10.0.0.1 --master-port 7";
        assert_eq!(met(tensor), (Ranks { first: 0, count: 1 }, 2, "10.0.0.1:7".into(), false));
        let other = format!("{tensor} --node-rank 1 --headless");
        assert_eq!(met(&other), (Ranks { first: 1, count: 1 }, 2, "10.0.0.1:7".into(), true));
        let ranks = "--data-parallel-size 4 --data-parallel-size-local 2 --data-parallel-address 10.0.0.1";
        assert_eq!(met(ranks), (Ranks { first: 0, count: 2 }, 4, "10.0.0.1:29550".into(), false));
        let other = format!("{ranks} --data-parallel-start-rank 2 --headless");
        assert_eq!(met(&other), (Ranks { first: 2, count: 2 }, 4, "10.0.0.1:29550".into(), true));
    }

    #[tokio::test]
    async fn the_first_one_is_ready_when_all_have_joined_and_no_rank_counts_twice() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").port();
        let of = |first| {
            let ranks = Ranks { first, count: 2 };
            Member { ranks, of: 6, address: "127.0.0.1".into(), port, headless: first > 0 }
        };
        let (head, second, impostor, third) = (of(0), of(2), of(2), of(4));
        let mut gathering = std::pin::pin!(head.gather());
        let (mut second, mut impostor) = (Box::pin(second.follow()), Box::pin(impostor.follow()));
        tokio::select! {
            _ = &mut gathering => panic!("ranks 4 and 5 are missing"),
            // Whichever comes later is turned away.
            () = &mut second => {}
            () = &mut impostor => {}
        }
        let all = tokio::select! {
            all = &mut gathering => all.expect("listens"),
            () = third.follow() => panic!("is wanted"),
        };
        assert_eq!(all.len(), 2);
    }
}
