//! Topobench's end: a node of the job, asked through its agent.

use super::protocol::{BEAT_SECS, MODE, NodeAnswer, NodeFacts, NodeQuestion, Numbered};
use super::step::{self, SlurmStep};
use crate::launch::guardian::Departure;
use crate::launch::log::EngineLog;
use crate::launch::lost::LostEngine;
use crate::launch::ports::{Listener, PortNeed, PortRequest, Ports};
use crate::observe::gpu::{GpuInfo, GpuSample};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::{interval, timeout};

/// A controller may be busy, and a step then waits for its turn.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Beyond what the agent itself waits for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// For the last words of an srun that ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between two signs of life.
pub(in crate::launch) const BEAT: Duration = Duration::from_secs(BEAT_SECS);

/// A node that doesn't do as a step needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "node {node} of Slurm job {job}: {problem}{}\nhint: `srun --jobid={job} --overlap --nodes=1 --nodelist={node} hostname` must work, and topobench must lie under the same path on every node",
    .said.iter().map(|line| format!("\n    | {line}")).collect::<String>()
)]
pub struct NodeError {
    pub node: String,
    pub job: String,
    pub problem: String,
    /// By srun.
    pub said: Vec<String>,
}

/// A node with an agent on it. Dropped, the agent ends.
#[derive(Debug)]
pub(in crate::launch) struct Node {
    job: String,
    facts: NodeFacts,
    talk: Mutex<Talk>,
    log: EngineLog,
}

#[derive(Debug)]
struct Talk {
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    asked: u64,
    /// Reaped by the runtime if it is dropped.
    _srun: Child,
}

impl Talk {
    async fn tell(&mut self, question: &NodeQuestion) -> io::Result<u64> {
        self.asked += 1;
        let mut line = serde_json::to_string(&Numbered { number: self.asked, is: question })?;
        line.push('\n');
        self.questions.write_all(line.as_bytes()).await?;
        Ok(self.asked)
    }

    async fn ask(&mut self, question: &NodeQuestion) -> io::Result<NodeAnswer> {
        let asked = self.tell(question).await?;
        loop {
            let line = self.answers.next_line().await?.ok_or_else(|| io::Error::other("its agent ended"))?;
            let Numbered { number, is } = serde_json::from_str(&line)?;
            if number == asked {
                return Ok(is);
            }
        }
    }
}

impl Node {
    /// Starts the agent on a node, `program` being topobench.
    pub(in crate::launch) async fn reach(job: &str, name: &str, program: &Path) -> Result<Arc<Node>, NodeError> {
        let failed = |problem: String, said| NodeError { node: name.to_string(), job: job.to_string(), problem, said };
        let of_system = |error: io::Error| failed(format!("cannot run srun: {error}"), Vec::new());
        let (pipe, writer) = io::pipe().map_err(of_system)?;
        let log = EngineLog::drain(pipe, None).map_err(of_system)?;
        let step = SlurmStep { job, node: name, name: "topobench" };
        let mut command = step::command(&step, program, MODE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(writer));
        let mut srun = command.spawn().map_err(of_system)?;
        drop(command);
        let (Some(questions), Some(answers)) = (srun.stdin.take(), srun.stdout.take()) else {
            return Err(of_system(io::Error::other("its standard streams are missing")));
        };
        let mut talk = Talk { questions, answers: BufReader::new(answers).lines(), asked: 0, _srun: srun };
        let problem = match timeout(START_PATIENCE, talk.ask(&NodeQuestion::Facts)).await {
            Ok(Ok(NodeAnswer::Facts(facts))) => {
                let node = Arc::new(Node { job: job.to_string(), facts, talk: Mutex::new(talk), log });
                node.beat();
                return Ok(node);
            }
            Ok(Ok(_)) => "its agent is another version of topobench".to_string(),
            Ok(Err(error)) => format!("no step reaches it: {error}"),
            Err(_) => format!("no step reached it within {} s", START_PATIENCE.as_secs()),
        };
        drop(talk);
        let _ = timeout(LAST_WORDS, log.finished()).await;
        Err(failed(problem, log.tail()))
    }

    pub(in crate::launch) fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// The command that starts a guardian there.
    pub(in crate::launch) fn guardian(&self, program: &Path, mode: &str, instance: &str) -> Command {
        step::command(&SlurmStep { job: &self.job, node: &self.facts.name, name: instance }, program, mode)
    }

    /// Lets the agent know that topobench is there, for as long as this node is known.
    fn beat(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut beats = interval(BEAT);
            loop {
                beats.tick().await;
                let Some(node) = node.upgrade() else { return };
                if node.talk.lock().await.tell(&NodeQuestion::Alive).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn ask(&self, question: &NodeQuestion) -> Result<NodeAnswer, NodeError> {
        let mut talk = self.talk.lock().await;
        let problem = match timeout(ANSWER_PATIENCE, talk.ask(question)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER_PATIENCE.as_secs()),
        };
        Err(NodeError { node: self.facts.name.clone(), job: self.job.clone(), problem, said: self.log.tail() })
    }

    /// They stay taken while this node is known.
    pub(in crate::launch) async fn choose_ports(
        &self,
        needs: Vec<PortNeed>,
        request: PortRequest,
    ) -> Result<Result<Vec<Ports>, String>, NodeError> {
        match self.ask(&NodeQuestion::Ports { needs, request }).await? {
            NodeAnswer::Ports(ports) => Ok(ports),
            _ => Err(self.confused()),
        }
    }

    pub(in crate::launch) async fn listener(&self, port: u16, guardian: i32) -> Result<Listener, NodeError> {
        match self.ask(&NodeQuestion::Listener { port, guardian }).await? {
            NodeAnswer::Listener(listener) => Ok(listener),
            _ => Err(self.confused()),
        }
    }

    /// Those of these ports on which somebody listens.
    pub(in crate::launch) async fn held(&self, ports: &[u16]) -> Result<Vec<u16>, NodeError> {
        match self.ask(&NodeQuestion::Held { ports: ports.to_vec() }).await? {
            NodeAnswer::Held(held) => Ok(held),
            _ => Err(self.confused()),
        }
    }

    pub(in crate::launch) async fn gpus(&self) -> Result<Vec<GpuInfo>, NodeError> {
        match self.ask(&NodeQuestion::Gpus).await? {
            NodeAnswer::Gpus(gpus) => Ok(gpus),
            _ => Err(self.confused()),
        }
    }

    /// One sample for each GPU, at a time that is the caller's to note.
    pub(in crate::launch) async fn sample(&self) -> Result<Vec<GpuSample>, NodeError> {
        match self.ask(&NodeQuestion::Sample).await? {
            NodeAnswer::Sample(samples) => Ok(samples),
            _ => Err(self.confused()),
        }
    }

    /// Free bytes of its /dev/shm.
    pub(in crate::launch) async fn shared_memory_free(&self) -> Result<Option<u64>, NodeError> {
        match self.ask(&NodeQuestion::SharedMemory).await? {
            NodeAnswer::SharedMemory(free) => Ok(free),
            _ => Err(self.confused()),
        }
    }

    pub(in crate::launch) async fn kill(&self, pid: i32) {
        // A node that doesn't answer has lost its steps, or loses them with topobench.
        let _ = self.ask(&NodeQuestion::Kill { pid }).await;
    }

    fn confused(&self) -> NodeError {
        let problem = "its agent answered something else".to_string();
        NodeError { node: self.facts.name.clone(), job: self.job.clone(), problem, said: self.log.tail() }
    }

    /// Ends what is left of an engine whose guardian, or whose srun, was killed.
    pub(in crate::launch) async fn sweep(&self, lost: LostEngine, limit: Duration) -> Departure {
        let step = lost.step.as_ref().map(|step| format!("{}.{step}", self.job));
        let question = NodeQuestion::Sweep { lost, limit_secs: limit.as_secs() };
        let swept = match self.ask(&question).await {
            Ok(NodeAnswer::Swept(departure)) => departure,
            Ok(_) | Err(_) => Departure::default(),
        };
        if let Some(step) = step {
            let cancel = Command::new("scancel").args(["--signal=KILL", "--quiet", &step]).output();
            let _ = timeout(ANSWER_PATIENCE, cancel).await;
        }
        swept
    }
}
