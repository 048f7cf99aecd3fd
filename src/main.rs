fn main() -> std::process::ExitCode {
    topobench::cli::main()
}
