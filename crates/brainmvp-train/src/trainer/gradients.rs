//! The gradients of a step, added up over its batches and over the ranks.
//!
//! Among several ranks, the parameters are divided into buckets, from the last to the first, as the backward pass comes to them.
//! As soon as the gradients of a bucket are known, it is sent, while the backward pass goes on. All ranks send the buckets in the
//! same order. A bucket has a number for each parameter besides, which says whether it has a gradient: a rank whose samples do
//! not reach a parameter, such as the template of a modality, adds nothing to it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brainmvp_kernels::ops::ranks::{Depth, GradientHook, when_gradient};
use brainmvp_ranks::Ranks;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// Values of a bucket, about; a message of 4 MB.
const BUCKET: usize = 1 << 20;

/// Adds up the gradients of each step of a run.
pub(super) struct GradientSums<M> {
    /// Those of the step in progress, for a process that is alone.
    alone: GradientsAccumulator<M>,
    together: Option<Together>,
}

/// What ranks share.
struct Together {
    layout: Arc<Layout>,
    sending: Arc<Mutex<Sending>>,
    /// The sums of the messages, in their order.
    sums: Receiver<Vec<f32>>,
    ranks: usize,
    /// Of the parameters, with autodiff.
    device: Device,
}

impl<M: Module> GradientSums<M> {
    /// For the parameters of a module on this device, with autodiff.
    pub(super) fn new(module: &M, ranks: &Ranks, device: &Device) -> Self {
        let together = (!ranks.is_alone()).then(|| Together::new(module, ranks, device));
        Self { alone: GradientsAccumulator::new(), together }
    }

    /// The module for the forward pass of a batch. `last`: there is no other batch in the step.
    pub(super) fn prepared(&self, module: &M, last: bool) -> M {
        match &self.together {
            None => module.clone(),
            Some(together) => together.hooked(module, last),
        }
    }

    /// Adds the gradients of a batch, computed by the [prepared](Self::prepared) module.
    pub(super) fn add(&mut self, module: &M, gradients: Gradients) {
        // Among several ranks, the hooks have taken them.
        if self.together.is_none() {
            self.alone.accumulate(module, GradientsParams::from_grads(gradients, module));
        }
    }

    /// The sum over batches and the mean over ranks, and the means of some numbers over the ranks.
    pub(super) fn take(&mut self, module: &M, numbers: &mut [f64]) -> GradientsParams {
        match &self.together {
            None => self.alone.grads(),
            Some(together) => together.finish(module, numbers),
        }
    }
}

impl Together {
    fn new<M: Module>(module: &M, ranks: &Ranks, device: &Device) -> Self {
        let layout = Arc::new(Layout::of(module));
        let (to, messages) = channel::<Vec<f32>>();
        let (results, sums) = channel();
        let transport = Arc::clone(ranks.gradients());
        // It ends when the sender of messages is dropped.
        std::thread::spawn(move || {
            for mut values in messages {
                transport.all_reduce_sum(&mut values);
                if results.send(values).is_err() {
                    return;
                }
            }
        });
        let sending = Arc::new(Mutex::new(Sending::new(&layout, to)));
        Self { layout, sending, sums, ranks: ranks.count(), device: device.clone() }
    }

    fn hooked<M: Module>(&self, module: &M, last: bool) -> M {
        let depth = Arc::new(Mutex::new(Depth::new(&self.device)));
        module.clone().map(&mut Hooks { together: self, depth, last })
    }

    fn finish<M: Module>(&self, module: &M, numbers: &mut [f64]) -> GradientsParams {
        lock(&self.sending).flush(numbers.iter().map(|number| *number as f32).collect());
        let mut sums: Vec<Vec<f32>> = self.sums.iter().take(self.layout.buckets.len() + 1).collect();
        let means = sums.pop().unwrap_or_default();
        numbers.iter_mut().zip(means).for_each(|(number, sum)| *number = f64::from(sum) / self.ranks as f64);
        let device = self.device.clone().without_autodiff();
        let mut take = Take {
            layout: &self.layout,
            sums: &sums,
            factor: 1.0 / self.ranks as f32,
            device,
            taken: GradientsParams::new(),
        };
        module.visit(&mut take);
        take.taken
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the gradient of each parameter is.
struct Layout {
    places: HashMap<ParamId, Place>,
    buckets: Vec<BucketSize>,
}

#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    /// The first of its values.
    start: usize,
    /// Its place among the parameters of the bucket.
    number: usize,
}

#[derive(Clone, Copy, Default)]
struct BucketSize {
    values: usize,
    parameters: usize,
}

impl Layout {
    fn of<M: Module>(module: &M) -> Self {
        struct Sizes(Vec<(ParamId, usize)>);
        impl ModuleVisitor for Sizes {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    self.0.push((param.id, param.shape().num_elements()));
                }
            }
        }
        let mut sizes = Sizes(Vec::new());
        module.visit(&mut sizes);
        let (mut places, mut buckets) = (HashMap::new(), Vec::<BucketSize>::new());
        for (id, size) in sizes.0.into_iter().rev() {
            if buckets.last().is_none_or(|bucket| bucket.values + size > BUCKET) {
                buckets.push(BucketSize::default());
            }
            let bucket = buckets.len() - 1;
            let BucketSize { values, parameters } = &mut buckets[bucket];
            places.insert(id, Place { bucket, start: *values, number: *parameters });
            *values += size;
            *parameters += 1;
        }
        Self { places, buckets }
    }
}

/// What a rank has of the sums, and what it has sent.
struct Sending {
    sizes: Vec<BucketSize>,
    /// The values of each bucket, then 1 for each parameter that has a gradient.
    buckets: Vec<Vec<f32>>,
    /// How many parameters of each bucket the last batch has not reached.
    missing: Vec<usize>,
    /// The first bucket that was not sent.
    next: usize,
    to: Sender<Vec<f32>>,
}

impl Sending {
    fn new(layout: &Layout, to: Sender<Vec<f32>>) -> Self {
        let sizes = layout.buckets.clone();
        let mut sending = Self { sizes, buckets: Vec::new(), missing: Vec::new(), next: 0, to };
        sending.begin();
        sending
    }

    /// Begins a step.
    fn begin(&mut self) {
        self.buckets = self.sizes.iter().map(|size| vec![0.0; size.values + size.parameters]).collect();
        self.missing = self.sizes.iter().map(|size| size.parameters).collect();
        self.next = 0;
    }

    /// Adds a gradient, and sends the buckets that are complete with it if there is no other batch.
    fn add(&mut self, place: Place, gradient: &[f32], last: bool) {
        let bucket = &mut self.buckets[place.bucket];
        let sums = &mut bucket[place.start..][..gradient.len()];
        sums.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        bucket[self.sizes[place.bucket].values + place.number] = 1.0;
        if last {
            self.missing[place.bucket] -= 1;
            while self.missing.get(self.next) == Some(&0) {
                self.send_next();
            }
        }
    }

    fn send_next(&mut self) {
        let bucket = std::mem::take(&mut self.buckets[self.next]);
        self.next += 1;
        self.send(bucket);
    }

    /// The receiver only ends with the run.
    fn send(&self, values: Vec<f32>) {
        drop(self.to.send(values));
    }

    /// Sends what was not sent, then some numbers, and begins the next step.
    fn flush(&mut self, numbers: Vec<f32>) {
        while self.next < self.buckets.len() {
            self.send_next();
        }
        self.send(numbers);
        self.begin();
    }
}

/// Puts a hook on each parameter when it is first used, which takes its gradient.
struct Hooks<'a> {
    together: &'a Together,
    depth: Arc<Mutex<Depth>>,
    last: bool,
}

impl ModuleMapper for Hooks<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(&place) = self.together.layout.places.get(&param.id) else { return param };
        let (sending, depth, last) = (Arc::clone(&self.together.sending), Arc::clone(&self.depth), self.last);
        let (id, value) = (param.id, param.val());
        let (device, shape) = (value.device(), value.shape());
        let hook = GradientHook::new(move |gradient| lock(&sending).add(place, &gradient, last));
        let first_use = move |_: &Device, _| when_gradient(value, &mut lock(&depth), hook);
        Param::uninitialized(id, first_use, device, true, shape)
    }
}

/// Takes the gradients out of the sums.
struct Take<'a> {
    layout: &'a Layout,
    sums: &'a [Vec<f32>],
    factor: f32,
    device: Device,
    taken: GradientsParams,
}

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(place) = self.layout.places.get(&param.id) else { return };
        let Some(bucket) = self.sums.get(place.bucket) else { return };
        if bucket[self.layout.buckets[place.bucket].values + place.number] == 0.0 {
            return;
        }
        let shape = param.shape();
        let values = &bucket[place.start..][..shape.num_elements()];
        let values = values.iter().map(|sum| sum * self.factor).collect::<Vec<_>>();
        let gradient = Tensor::<D>::from_data(TensorData::new(values, shape), &self.device);
        self.taken.register(param.id, gradient);
    }
}
