//! Who is where: cohort files, folder layouts, checks, the phantom generator.
