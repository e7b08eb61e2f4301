//! The mean over mirror images of a window.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// An axis of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// From left to right, the fastest in memory.
    X,
    /// From back to front.
    Y,
    /// From below to above.
    Z,
}

impl Axis {
    /// Its index in `[B, D, H, W, C]`.
    fn dimension(self) -> isize {
        match self {
            Self::X => 3,
            Self::Y => 2,
            Self::Z => 1,
        }
    }
}

/// The axes along which windows are mirrored at inference; with none, only the window itself is used. Each axis doubles
/// the work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mirror(BTreeSet<Axis>);

impl Mirror {
    /// Mirrors along these axes, alone and together.
    pub fn along(axes: impl IntoIterator<Item = Axis>) -> Self {
        Self(axes.into_iter().collect())
    }

    /// How often the network is applied to a window.
    pub fn passes(&self) -> usize {
        1 << self.0.len()
    }

    /// The mean of the results of `predict` for the window and all its mirror images, mirrored back. `predict` must
    /// return probabilities, since the mean of logits is not that of probabilities.
    ///
    /// # Shapes
    /// `[B, D, H, W, C]` to `[B, D, H, W, classes]`
    ///
    /// # Errors
    /// Those of `predict`.
    pub fn mean<E>(
        &self,
        window: Tensor<5>,
        predict: impl FnMut(Tensor<5>) -> Result<Tensor<5>, E>,
    ) -> Result<Tensor<5>, E> {
        self.mean_of(window, predict, mirrored)
    }

    /// [`Self::mean`] for any result; `back` undoes the mirroring along some axes in it.
    pub(crate) fn mean_of<E, const D: usize>(
        &self,
        window: Tensor<5>,
        mut predict: impl FnMut(Tensor<5>) -> Result<Tensor<D>, E>,
        back: impl Fn(Tensor<D>, &[Axis]) -> Tensor<D>,
    ) -> Result<Tensor<D>, E> {
        let mut sum = predict(window.clone())?;
        for subset in 1..self.passes() {
            let chosen = self.0.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
            let chosen: Vec<Axis> = chosen.map(|(_, axis)| *axis).collect();
            sum = sum + back(predict(mirrored(window.clone(), &chosen))?, &chosen);
        }
        Ok(if self.passes() == 1 { sum } else { sum / self.passes() as f32 })
    }
}

/// A window mirrored along some axes.
fn mirrored(window: Tensor<5>, axes: &[Axis]) -> Tensor<5> {
    axes.iter().fold(window, |window, axis| window.flip([axis.dimension()]))
}

impl fmt::Display for Mirror {
    /// `x,y,z` as typed by the user; `none` for no axis.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names = self.0.iter().map(|axis| format!("{axis:?}").to_lowercase());
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Mirror {
    type Err = String;

    /// Parses `none`, or axes such as `x,y,z` or `xyz`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let axes: Result<BTreeSet<Axis>, String> = text
            .chars()
            .filter(|letter| !matches!(letter, ',' | ' '))
            .map(|letter| match letter {
                'x' => Ok(Axis::X),
                'y' => Ok(Axis::Y),
                'z' => Ok(Axis::Z),
                _ => Err(format!("unknown axis '{letter}' (write axes as x,y,z, or none)")),
            })
            .collect();
        match axes? {
            axes if axes.is_empty() => Err("no axis (write axes as x,y,z, or none)".to_owned()),
            axes => Ok(Self(axes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn values(tensor: Tensor<5>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn axes_are_typed() {
        assert_eq!("none".parse(), Ok(Mirror::default()));
        assert_eq!("z, x".parse(), Ok(Mirror::along([Axis::X, Axis::Z])));
        assert_eq!("xyz".parse::<Mirror>().unwrap().to_string(), "x,y,z");
        assert_eq!(Mirror::default().to_string(), "none");
        assert!("w".parse::<Mirror>().is_err() && "".parse::<Mirror>().is_err());
    }

    #[test]
    fn what_knows_no_direction_is_not_changed_and_what_does_is_averaged() {
        let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let window = Tensor::<5>::from_data(TensorData::new(data, [1, 2, 3, 4, 1]), &Device::flex());
        let all: Mirror = "xyz".parse().unwrap();
        let mut passes = 0;
        let doubled = all.mean(window.clone(), |x| {
            passes += 1;
            Ok::<_, String>(x * 2.0)
        });
        assert_eq!((values(doubled.unwrap()), passes), (values(window.clone() * 2.0), 8));
        // Constant, whatever the input: mirrored back, it is the mean with its mirror image.
        let fixed = Mirror::along([Axis::X]).mean(window.clone(), |_| Ok::<_, String>(window.clone()));
        assert_eq!(values(fixed.unwrap()), values((window.clone() + window.clone().flip([3])) / 2.0));
        // Each axis is its own: along y, rows change places.
        let mut seen = Vec::new();
        let keep = |x: Tensor<5>, seen: &mut Vec<Vec<f32>>| {
            seen.push(values(x.clone()));
            Ok::<_, String>(x)
        };
        Mirror::along([Axis::Y]).mean(window.clone(), |x| keep(x, &mut seen)).unwrap();
        assert_eq!(seen[1][..4], [8.0, 9.0, 10.0, 11.0]);
        Mirror::along([Axis::Z]).mean(window, |x| keep(x, &mut seen)).unwrap();
        assert_eq!(seen[3][..4], [12.0, 13.0, 14.0, 15.0]);
    }
}
