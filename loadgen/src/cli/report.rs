//! `gridload report`: writes pages of existing results. Must not draw anything itself.

use crate::cli::flags::report::ReportArgs;
use crate::judge::exit::Exit;
use crate::os::output::say;
use crate::report::html;
use crate::report::html::HtmlError;
use crate::result::record::RUN_FILE;
use crate::result::run_file::RunFile;

/// Writes the pages of results that are there already, and says where.
///
/// # Errors
/// At the first that cannot be read or written.
pub fn run(args: &ReportArgs) -> Result<Exit, HtmlError> {
    if args.out.is_some() && args.directories.len() > 1 {
        return Err(HtmlError::OneFile(args.directories.len()));
    }
    for directory in &args.directories {
        let file = directory.join(RUN_FILE);
        if !file.exists() {
            return Err(HtmlError::NoRun(directory.clone()));
        }
        let page = args.out.clone().unwrap_or_else(|| html::page_in(directory));
        html::write(RunFile::read(file)?, &page)?;
        say(format_args!("report: {}", page.display()));
    }
    Ok(Exit::Ok)
}
