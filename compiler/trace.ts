export interface Trace {
  write(pass: string, text: string): void;
}
