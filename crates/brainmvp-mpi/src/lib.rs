//! Processes that train one network together, connected by MPI.
//!
//! [`Processes::join`] makes a process that a launcher (`mpirun`, `srun`) has started with others one of the [`Ranks`]. Without
//! the feature `mpi` there is no MPI in the program, and it says so.
//!
//! The message-passing library ends all processes if it loses one, and says which; the launcher does if it is killed.

#[cfg(feature = "mpi")]
mod lane;

use brainmvp_ranks::Ranks;

/// The processes could not be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There are several, and this program was built without MPI.
    NotBuilt,
    /// MPI was started before by somebody else.
    Started,
    /// The MPI library cannot be called by several threads at once.
    OneThread,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotBuilt => "this program was built without MPI, so that its processes cannot train together",
            Self::Started => "MPI was already started in this process",
            Self::OneThread => {
                "this MPI library does not allow calls by several threads (MPI_THREAD_MULTIPLE); build it with them"
            }
        })
    }
}

impl std::error::Error for Error {}

/// This process and those that were started with it.
pub struct Processes {
    ranks: Ranks,
    #[cfg(feature = "mpi")]
    connection: lane::Connection,
}

impl Processes {
    /// Connects the processes. All of them call it, once.
    ///
    /// # Errors
    /// If this program or the MPI library cannot.
    #[cfg(feature = "mpi")]
    pub fn join() -> Result<Self, Error> {
        let (connection, ranks) = lane::Connection::open()?;
        Ok(Self { ranks, connection })
    }

    /// Without MPI in the program, it is an error.
    ///
    /// # Errors
    /// [`Error::NotBuilt`]
    #[cfg(not(feature = "mpi"))]
    pub fn join() -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// This process among the others.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Takes leave of the others, which do the same.
    pub fn leave(self) {
        #[cfg(feature = "mpi")]
        self.connection.close();
    }

    /// Ends all processes, this one included, wherever they are.
    pub fn abort(&self, code: i32) -> ! {
        #[cfg(feature = "mpi")]
        lane::abort(code);
        #[cfg(not(feature = "mpi"))]
        std::process::exit(code)
    }
}
