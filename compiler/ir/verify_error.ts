/** A rule of an IR that a pass broke: a fault of the compiler, never of a user's text. */
export class VerifyError extends Error {
  readonly pass: string;

  constructor(pass: string, where: string, complaint: string) {
    super(`after ${pass}: ${where}: ${complaint}. This is a fault of the compiler.`);
    this.name = "VerifyError";
    this.pass = pass;
  }
}
