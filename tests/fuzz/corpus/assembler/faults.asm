L: A = (1 << 64 >> 3) / 0
  if (A & ) goto
 return
