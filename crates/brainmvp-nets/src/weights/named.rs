//! Walks over the parameters and buffers of a module.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

/// A parameter or buffer: its position in the module, and the modules that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Field names from the root, joined by dots: `encoder.blocks1.0.attn.weight`.
    pub path: &'a str,
    /// The types of the modules that contain it, from the root: `UniFormer`, `ConvBlock`, `DepthwiseConv3d`.
    pub modules: &'a [String],
    /// Its shape in this program.
    pub shape: &'a [usize],
}

impl Entry<'_> {
    /// The type of the layer that it belongs to: `DepthwiseConv3d`.
    pub fn layer(&self) -> &str {
        self.modules.last().map_or("", String::as_str)
    }

    /// The last of its field names: `weight`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Whether a module of this type contains it, at any depth.
    pub fn within(&self, module: &str) -> bool {
        self.modules.iter().any(|name| name == module)
    }
}

/// Calls `each` with every float parameter and buffer of a module, in the order of its fields.
pub fn visit<M: Module>(module: &M, each: impl FnMut(Entry<'_>, TensorData)) {
    module.visit(&mut Visitor { place: Place::default(), gradients: None, each });
}

/// A handle to a parameter or buffer: nothing is copied until its values are requested.
#[derive(Debug, Clone)]
pub struct Named {
    /// Field names from the root, joined by dots.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Tensor<1>,
}

/// Handles to all float parameters and buffers of a module, in the order of its fields.
pub fn handles<M: Module>(module: &M) -> Vec<Named> {
    let mut collector = Collector { place: Place::default(), found: Vec::new() };
    module.visit(&mut collector);
    collector.found
}

/// Calls `each` with every float parameter and buffer of a module, in the order of its fields, without its values.
pub fn entries<M: Module>(module: &M, each: impl FnMut(Entry<'_>)) {
    module.visit(&mut Lister { place: Place::default(), each });
}

/// Calls `each` with the gradient of every parameter that has one.
pub fn visit_gradients<M: Module>(
    module: &M,
    gradients: &Gradients,
    each: impl FnMut(Entry<'_>, TensorData),
) {
    module.visit(&mut Visitor { place: Place::default(), gradients: Some(gradients), each });
}

/// Replaces parameters and buffers by what `value` returns; if that is `None`, the old value stays.
///
/// # Errors
/// The first error of `value`. The module is consumed in any case.
pub fn load<M: Module, E>(
    module: M,
    value: impl FnMut(Entry<'_>) -> Result<Option<TensorData>, E>,
) -> Result<M, E> {
    let mut mapper = Mapper { place: Place::default(), value, error: None };
    let module = module.map(&mut mapper);
    match mapper.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// The position of a walk over a module: the names and layer types from the root. A visitor or mapper tells it what it
/// enters and leaves, so that names are the same everywhere.
#[derive(Default)]
pub struct Place {
    names: Vec<String>,
    modules: Vec<String>,
}

impl Place {
    /// Enters a module. Variants of enums do not add a name: their contents are found under the enum's own name.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.names.push(name.to_owned());
        }
        if let Some(module) = container.strip_prefix("Struct:") {
            self.modules.push(module.to_owned());
        }
    }

    /// Leaves the module.
    pub fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.names.pop();
        }
        if container.starts_with("Struct:") {
            self.modules.pop();
        }
    }

    /// Field names from the root, joined by dots.
    pub fn path(&self) -> String {
        self.names.join(".")
    }

    fn with<R>(&self, shape: &[usize], f: impl FnOnce(Entry<'_>) -> R) -> R {
        f(Entry { path: &self.path(), modules: &self.modules, shape })
    }
}

struct Visitor<'g, F> {
    place: Place,
    /// The gradients to visit; without them, values are visited.
    gradients: Option<&'g Gradients>,
    each: F,
}

impl<F: FnMut(Entry<'_>, TensorData)> ModuleVisitor for Visitor<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let data = match self.gradients {
            None => Some(value.to_data()),
            Some(gradients) => value.grad(gradients).map(Tensor::into_data),
        };
        if let Some(data) = data {
            self.place.with(&value.dims(), |entry| (self.each)(entry, data));
        }
    }
}

struct Collector {
    place: Place,
    found: Vec<Named>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().detach();
        let shape = value.dims().to_vec();
        let values = value.reshape([shape.iter().product::<usize>()]);
        self.found.push(Named { path: self.place.path(), shape, values });
    }
}

struct Lister<F> {
    place: Place,
    each: F,
}

impl<F: FnMut(Entry<'_>)> ModuleVisitor for Lister<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.place.with(&param.val().dims(), |entry| (self.each)(entry));
    }
}

struct Mapper<F, E> {
    place: Place,
    value: F,
    error: Option<E>,
}

impl<E, F: FnMut(Entry<'_>) -> Result<Option<TensorData>, E>> ModuleMapper for Mapper<F, E> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        match self.place.with(&param.val().dims(), |entry| (self.value)(entry)) {
            Ok(Some(data)) => param
                .map(|old| Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())),
            Ok(None) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
