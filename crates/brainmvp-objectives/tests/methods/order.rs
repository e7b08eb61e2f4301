//! The order of the samples of a batch.

use super::*;

/// Reversing a batch changes no loss beyond rounding. The methods that draw while they are applied (noise for places of the batch) are
/// applied without that.
struct Reversed<'a>(&'a Small);

impl ForMethod for Reversed<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let cases = cases([40; 3]);
        let of = |is_reversed: bool| {
            let (objective, mut samples) = begin(method, self.0, &cases, &device);
            if is_reversed {
                samples.reverse();
            }
            loss(&objective, &samples).0.into_scalar::<f32>()
        };
        let (forwards, backwards) = (of(false), of(true));
        println!("  {forwards} {backwards}");
        assert!((forwards - backwards).abs() < 1e-4 * forwards.abs(), "{forwards}, reversed {backwards}");
    }
}

#[test]
fn the_order_of_a_batch_does_not_matter() {
    for_all(|small| small.method.with(Reversed(small)));
}
