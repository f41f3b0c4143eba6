// Style sheets that are imported: the bundler puts them together.
declare module "*.css";
