//! Functions of this program that run in contained processes of their own.
//!
//! ```text
//! cargo run --example functions
//! ```

use sutbot::{
    ExceptionSafeSubProcessFunction, Functions, HandleError, SubProcessSettings,
    run_function_as_exception_safe_subprocess,
};

/// What can be called.
fn functions() -> Functions {
    Functions::new()
        .register("divide", |(a, b): (i64, i64)| a.checked_div(b).ok_or("division by zero"))
        .register("last", |items: Vec<String>| Ok::<_, String>(items[items.len() - 1].clone()))
        .register("give_up", |()| -> Result<(), String> { std::process::abort() })
        .register("hang", |()| -> Result<(), String> {
            loop {
                std::thread::park();
            }
        })
}

fn main() -> Result<(), HandleError> {
    // First of all: a process that is to call a function goes no further.
    sutbot::run_if_child(functions);

    let mut divide = ExceptionSafeSubProcessFunction::new("divide");
    for arguments in [(42, 6), (42, 0)] {
        divide.start(&arguments)?;
        divide.join()?;
        println!("divide {arguments:?}: {:?}", divide.get_result());
    }

    // Whatever becomes of the process, there is a result.
    let settings = SubProcessSettings::default();
    let nothing: [String; 0] = [];
    for (name, arguments) in [("last", Some(nothing)), ("give_up", None), ("lost", None)] {
        let (_process, results) =
            run_function_as_exception_safe_subprocess(name, &arguments, &settings);
        match results.wait() {
            Ok(value) => println!("{name}: {value}"),
            Err(exception) => println!("{name}: {exception}"),
        }
    }

    let mut hang = ExceptionSafeSubProcessFunction::new("hang");
    hang.start(&())?;
    println!("hang: alive {}, {:?}", hang.is_alive(), hang.get_result());
    hang.terminate()?;
    hang.join()?;
    println!("hang: alive {}, {:?}", hang.is_alive(), hang.get_result());
    Ok(())
}
