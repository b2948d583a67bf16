//! One instance with the store that it lives in.

use crate::access::Scope;
use crate::bindings::{State, messaging};
use crate::canonical::{Arguments, HeapResult, StackResult};
use crate::error::CallError;
use crate::fair::fair;
use crate::limits::{DIRECT_FUEL, check_size};
use crate::manifest::Limits;
use crate::program::{Callable, Program, Road};
use crate::trap;
use crate::value::Value;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Func, Instance, Lift, Lower, TypedFunc, Val};

/// An instance. Whatever goes wrong inside leaves it unusable, and dropping it is all that can be done then.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
    pub(crate) limits: Limits,
    /// Whether the reply of a direct call is checked afterwards, because wasmtime lets more through.
    checks_size: bool,
}

impl Live {
    /// Makes an instance. The caller holds a permit of [`Program::room`] for as long as it lives.
    pub(crate) async fn new(program: &Program, scope: Scope) -> Result<Live, CallError> {
        Live::with_state(program, State::new(&program.limits, &program.access, scope)).await
    }

    /// Makes an instance that has all that is in `state`.
    pub(crate) async fn with_state(program: &Program, state: State) -> Result<Live, CallError> {
        let mut store = program.store(state);
        let (limits, checks_size) = (program.limits, program.fuel > DIRECT_FUEL);
        match fair(store.data().is_long(), program.pre.instantiate_async(&mut store)).await {
            Ok(instance) => Ok(Live { store, instance, limits, checks_size }),
            Err(error) => Err(trap::call_error(&error, Some(&store.data().limiter), &limits)),
        }
    }

    /// Works for another call from now on.
    pub(crate) fn begin_call(&mut self, scope: Scope) {
        self.store.data_mut().begin_call(scope);
    }

    /// Calls an endpoint, and gives what the function returned.
    pub(crate) async fn call(
        &mut self,
        callable: &Callable,
        arguments: Vec<Value>,
    ) -> Result<Option<Value>, CallError> {
        let func = self.func(callable.export, &callable.endpoint.function)?;
        let store = &mut self.store;
        let result = match callable.road {
            Road::Stack => direct::<StackResult>(func, store, arguments).await.map(|result| result.0),
            Road::Heap => {
                let result = direct::<HeapResult>(func, store, arguments).await.map(|result| result.0);
                result.and_then(|value| match self.checks_size {
                    true => check_size(value.as_slice()).map(|()| value),
                    false => Ok(value),
                })
            }
            Road::Dynamic => dynamic_call(func, store, callable, &arguments).await,
            Road::Message => message_call(func, store, callable, arguments).await,
            Road::Command => return Err(CallError::Host("a command runs in an instance of its own".into())),
        };
        result.map_err(|error| self.failed(&error))
    }

    /// Calls a function whose parameters and result are known when the host is built.
    pub(crate) async fn call_typed<P, R>(
        &mut self,
        export: ComponentExportIndex,
        name: &str,
        params: P,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let func = self.func(export, name)?;
        let typed = func.typed::<P, R>(&self.store).map_err(|error| CallError::Host(format!("{name}: {error:#}")))?;
        let result = fair(self.store.data().is_long(), typed.call_async(&mut self.store, params)).await;
        result.map_err(|error| self.failed(&error))
    }

    /// Calls a function with wasmtime's own values.
    pub(crate) async fn call_vals(
        &mut self,
        export: ComponentExportIndex,
        name: &str,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<(), CallError> {
        let func = self.func(export, name)?;
        let result = fair(self.store.data().is_long(), func.call_async(&mut self.store, params, results)).await;
        result.map_err(|error| self.failed(&error))
    }

    pub(crate) fn func(&mut self, export: ComponentExportIndex, name: &str) -> Result<Func, CallError> {
        let func = self.instance.get_func(&mut self.store, export);
        func.ok_or_else(|| CallError::Host(format!("{name} is not exported")))
    }

    /// What an error of wasmtime means to the caller.
    pub(crate) fn failed(&self, error: &wasmtime::Error) -> CallError {
        trap::call_error(error, Some(&self.store.data().limiter), &self.limits)
    }
}

async fn direct<R>(func: Func, store: &mut Store<State>, arguments: Vec<Value>) -> wasmtime::Result<R>
where
    R: ComponentNamedList + Lift + 'static,
{
    // SAFETY: `Arguments` and both results match each value against the function's real type (see `canonical`).
    let func = unsafe { TypedFunc::<Arguments, R>::new_unchecked(func) };
    fair(store.data().is_long(), func.call_async(store, Arguments(arguments))).await
}

async fn message_call(
    func: Func,
    store: &mut Store<State>,
    callable: &Callable,
    arguments: Vec<Value>,
) -> wasmtime::Result<Option<Value>> {
    let params = arguments.into_iter().map(|argument| match argument {
        Value::Bytes(bytes) => messaging::incoming(store, bytes),
        _ => wasmtime::bail!("a message is bytes"),
    });
    let params: Vec<Val> = params.collect::<wasmtime::Result<_>>()?;
    let mut results = callable.places();
    fair(store.data().is_long(), func.call_async(store, &params, &mut results)).await?;
    callable.returned(&results)
}

async fn dynamic_call(
    func: Func,
    store: &mut Store<State>,
    callable: &Callable,
    arguments: &[Value],
) -> wasmtime::Result<Option<Value>> {
    let params = callable.to_vals(arguments)?;
    let mut results = callable.places();
    fair(store.data().is_long(), func.call_async(store, &params, &mut results)).await?;
    callable.returned(&results)
}

#[cfg(test)]
mod tests;
