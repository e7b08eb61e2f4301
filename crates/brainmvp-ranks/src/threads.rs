//! Ranks that are threads of one process: for tests, and for one process with several devices.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::{Ranks, Transport};

/// As many ranks, one for each thread.
///
/// ```
/// let sums = std::thread::scope(|scope| {
///     let threads: Vec<_> = brainmvp_ranks::threads(3).into_iter().map(|ranks| scope.spawn(move || {
///         let mut values = [ranks.rank() as f32, 1.0];
///         ranks.sum(&mut values);
///         values
///     })).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
/// });
/// assert_eq!(sums, [[3.0, 3.0]; 3]);
/// ```
pub fn threads(count: usize) -> Vec<Ranks> {
    let rooms = [(); 2].map(|()| Arc::new(Room::new(count)));
    let transport = |room: &Arc<Room>, rank| Arc::new(Seat { room: Arc::clone(room), rank, count });
    (0..count).map(|rank| Ranks::connected(transport(&rooms[0], rank), transport(&rooms[1], rank))).collect()
}

/// Where threads lay down what they give, and take what all gave.
struct Room {
    table: Mutex<Table>,
    changed: Condvar,
}

struct Table {
    /// What each has given, once it has.
    given: Vec<Option<Vec<u8>>>,
    /// Once all have given, what they gave, for each who has not taken it yet.
    results: Vec<Option<Vec<Vec<u8>>>>,
}

impl Room {
    fn new(count: usize) -> Self {
        let table = Table { given: vec![None; count], results: vec![None; count] };
        Self { table: Mutex::new(table), changed: Condvar::new() }
    }
}

/// A thread's place in a room.
struct Seat {
    room: Arc<Room>,
    rank: usize,
    count: usize,
}

impl Transport for Seat {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn all_reduce_sum(&self, values: &mut [f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        values.fill(0.0);
        for one in self.all_gather(&bytes) {
            let (numbers, _) = one.as_chunks::<4>();
            values.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += f32::from_le_bytes(*number));
        }
    }

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let Self { room, rank, count } = self;
        let mut table = room.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.given[*rank] = Some(bytes.to_vec());
        if table.given.iter().all(Option::is_some) {
            let all: Vec<Vec<u8>> = table.given.iter_mut().filter_map(Option::take).collect();
            table.results = vec![Some(all); *count];
            room.changed.notify_all();
        }
        loop {
            if let Some(all) = table.results[*rank].take() {
                return all;
            }
            table = room.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
