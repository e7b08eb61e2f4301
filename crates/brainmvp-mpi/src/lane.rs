//! Threads that call MPI.
//!
//! A communicator belongs to one thread. Each of the two [transports](Transport) therefore has a thread with a communicator of
//! its own, so that neither disturbs the other, and asks it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use brainmvp_ranks::{Ranks, Transport};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _};

use crate::Error;

/// MPI, from its start to its end.
pub(crate) struct Connection {
    lanes: Vec<Arc<Lane>>,
    threads: Vec<JoinHandle<()>>,
    // Ends MPI, after all else.
    _universe: Universe,
}

impl Connection {
    pub(crate) fn open() -> Result<(Self, Ranks), Error> {
        let (universe, threading) =
            mpi::initialize_with_threading(Threading::Multiple).ok_or(Error::Started)?;
        if threading < Threading::Multiple {
            return Err(Error::OneThread);
        }
        // All processes open the one after the other, and so connect the first to the first.
        let (lanes, threads): (Vec<_>, Vec<_>) =
            [(); 2].map(|()| Lane::open(&universe.world())).into_iter().unzip();
        let ranks = Ranks::connected(
            Arc::clone(&lanes[0]) as Arc<dyn Transport>,
            Arc::clone(&lanes[1]) as Arc<dyn Transport>,
        );
        Ok((Self { lanes, threads, _universe: universe }, ranks))
    }

    /// Ends the threads, and MPI after them.
    pub(crate) fn close(self) {
        for (lane, thread) in self.lanes.iter().zip(self.threads) {
            lane.ask(Request::End);
            drop(thread.join());
        }
    }
}

/// Ends all processes.
pub(crate) fn abort(code: i32) -> ! {
    SimpleCommunicator::world().abort(code)
}

/// What a thread is asked for.
enum Request {
    Sum(Vec<f32>),
    Gather(Vec<u8>),
    End,
}

/// What it answers.
enum Answer {
    Ready,
    Sum(Vec<f32>),
    Gathered(Vec<Vec<u8>>),
}

/// The way to a thread.
struct Lane {
    rank: usize,
    count: usize,
    /// One asks at a time.
    line: Mutex<(Sender<Request>, Receiver<Answer>)>,
}

impl Lane {
    fn open(world: &SimpleCommunicator) -> (Arc<Self>, JoinHandle<()>) {
        let (requests, asked) = channel();
        let (answers, answered) = channel();
        let thread = std::thread::spawn(move || serve(&asked, &answers));
        // Only then may the next one duplicate the communicator.
        drop(answered.recv());
        let (rank, count) = (world.rank() as usize, world.size() as usize);
        (Arc::new(Self { rank, count, line: Mutex::new((requests, answered)) }), thread)
    }

    /// The answer; `None` when the thread has ended.
    fn ask(&self, request: Request) -> Option<Answer> {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.0.send(request).ok()?;
        line.1.recv().ok()
    }
}

/// Exchanges nothing any more after the run.
const ENDED: &str = "MPI has ended";

impl Transport for Lane {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn all_reduce_sum(&self, values: &mut [f32]) {
        match self.ask(Request::Sum(values.to_vec())) {
            Some(Answer::Sum(sums)) => values.copy_from_slice(&sums),
            _ => unreachable!("{ENDED}"),
        }
    }

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self.ask(Request::Gather(bytes.to_vec())) {
            Some(Answer::Gathered(all)) => all,
            _ => unreachable!("{ENDED}"),
        }
    }
}

/// The work of a thread.
fn serve(asked: &Receiver<Request>, answers: &Sender<Answer>) {
    let communicator = SimpleCommunicator::world().duplicate();
    // Whoever asks waits for the answer.
    drop(answers.send(Answer::Ready));
    for request in asked {
        let answer = match request {
            Request::Sum(values) => Answer::Sum(sum(&communicator, &values)),
            Request::Gather(bytes) => Answer::Gathered(gather(&communicator, &bytes)),
            Request::End => return,
        };
        drop(answers.send(answer));
    }
}

fn sum(communicator: &SimpleCommunicator, values: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; values.len()];
    communicator.all_reduce_into(values, &mut sums[..], SystemOperation::sum());
    sums
}

fn gather(communicator: &SimpleCommunicator, bytes: &[u8]) -> Vec<Vec<u8>> {
    // Nobody sends nothing: where an empty slice points to, MPI may see `MPI_IN_PLACE`.
    let bytes = &[bytes, &[0]].concat()[..];
    let mut lengths = vec![0_i32; communicator.size() as usize];
    communicator.all_gather_into(&(bytes.len() as i32), &mut lengths[..]);
    let mut end = 0;
    let starts: Vec<i32> = lengths
        .iter()
        .map(|length| {
            end += length;
            end - length
        })
        .collect();
    let mut all = vec![0_u8; end as usize];
    communicator
        .all_gather_varcount_into(bytes, &mut PartitionMut::new(&mut all[..], &lengths[..], &starts[..]));
    let parts = starts.iter().zip(&lengths);
    parts.map(|(start, length)| all[*start as usize..][..*length as usize - 1].to_vec()).collect()
}
