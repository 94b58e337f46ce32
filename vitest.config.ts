import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // two slow cores compile, assemble and run an emulated GPU at once: a limit is for what hangs
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
